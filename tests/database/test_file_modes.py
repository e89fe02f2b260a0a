"""File modes: only the owner reads the service's files and changes its keys."""

import os
import stat
from pathlib import Path

import pytest

from api.auth.api_keys import KeysError, read_keys
from config import Settings, SettingsError
from database import Database
from engine.errors import StorageUnavailableError
from file_modes import create_private
from start_checks import check_files
from tests.support.access import ENTRIES
from worker_setup import data_encryption_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield
    os.umask(before)


async def files_of(path: Path) -> dict[str, int]:
    """Return the modes of a database and its journal files while it is open."""
    database = Database(f"sqlite+aiosqlite:///{path}")
    try:
        await database.prepare()
        return {file.name: mode_of(file) for file in path.parent.iterdir()}
    finally:
        await database.close()


async def test_a_new_database_and_its_companions_are_private(tmp_path: Path, umask: None):
    modes = await files_of(tmp_path / "database.sqlite")
    assert modes == {
        "database.sqlite": 0o600,
        "database.sqlite-wal": 0o600,
        "database.sqlite-shm": 0o600,
    }


async def test_a_database_behind_a_dangling_link_is_private(tmp_path: Path):
    (tmp_path / "link").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "link" / "database.sqlite").symlink_to(tmp_path / "real" / "data.sqlite")
    await files_of(tmp_path / "link" / "database.sqlite")
    assert mode_of(tmp_path / "real" / "data.sqlite") == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o600])
async def test_a_database_of_the_main_project_keeps_its_mode(tmp_path: Path, mode: int):
    path = tmp_path / "database.sqlite"
    path.touch()
    path.chmod(mode)
    assert set((await files_of(path)).values()) == {mode}


def test_an_existing_file_does_not_change(tmp_path: Path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "file").chmod(0o640)
    create_private(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "content"
    assert mode_of(tmp_path / "file") == 0o640
    create_private(tmp_path / "nowhere" / "file")  # the program that opens it reports the error


UNSAFE = pytest.mark.parametrize("mode", [0o666, 0o622, 0o620, 0o602, 0o660], ids=oct)
SAFE = pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o400], ids=oct)


def settings_of(directory: Path, **values: object) -> Settings:
    values = {"database_path": directory / "database.sqlite", **values}
    return Settings(_env_file=None, **values)  # pyright: ignore


@UNSAFE
def test_key_and_secrets_files_that_others_can_write_are_rejected(tmp_path: Path, mode: int):
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    keys.write_text(ENTRIES.replace(",", "\n"))
    secrets.write_text("SHOP_KEY=a-long-secret\n")
    data_key = tmp_path / "database.sqlite.key"
    data_key.write_bytes(b"a key of enough length")
    for file in (keys, secrets, data_key):
        file.chmod(mode)
    with pytest.raises(KeysError, match=f"^API_KEYS_FILE: other users can write {keys}"):
        read_keys(None, keys)
    with pytest.raises(SettingsError, match=f"^SECRETS_FILE: other users can write {secrets}"):
        check_files(settings_of(tmp_path, secrets_file=secrets))
    with pytest.raises(
        SettingsError, match=f"^DATA_ENCRYPTION_KEY .* other users can write {data_key}"
    ):
        check_files(settings_of(tmp_path))
    with pytest.raises(StorageUnavailableError, match="other users can write"):
        data_encryption_of(settings_of(tmp_path)).encrypt({"outputData": 1})
    check_files(settings_of(tmp_path, data_encryption_key="a key of its own, which is long enough"))


@SAFE
def test_key_and_secrets_files_that_only_their_owner_writes_are_read(tmp_path: Path, mode: int):
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    keys.write_text(ENTRIES.replace(",", "\n"))
    secrets.write_text("SHOP_KEY=a-long-secret\n")
    for file in (keys, secrets):
        file.chmod(mode)
    assert len(read_keys(None, keys).keys) > 1
    check_files(settings_of(tmp_path, secrets_file=secrets))


def test_a_key_file_that_the_service_creates_is_private(tmp_path: Path, umask: None):
    data_encryption_of(settings_of(tmp_path)).encrypt({"outputData": 1})
    assert mode_of(tmp_path / "database.sqlite.key") == 0o600


def test_a_dotenv_that_every_user_can_write_is_rejected(tmp_path: Path):
    path, settings = tmp_path / ".env", settings_of(tmp_path)
    check_files(settings, path)  # the file is missing
    path.touch()
    path.chmod(0o666)
    with pytest.raises(SettingsError, match=r"^\.env: other users can write"):
        check_files(settings, path)
    path.chmod(0o664)  # because many systems give each user a private group
    check_files(settings, path)
