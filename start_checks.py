"""Start checks: reject unsafe files and settings before the service listens."""

import stat
from collections.abc import Sequence
from pathlib import Path

from config import ROOT, Settings, SettingsError
from database.connection.urls import read_address
from engine.errors import StorageUnavailableError
from file_modes import OTHERS_WRITE, insecure_mode_reason


def check_files(settings: Settings, env_file: Path = ROOT / ".env") -> None:
    """Check that no other user of the machine can change secrets or settings.

    The group may write ``.env``, because many systems give each user a private group with write
    permission. ``read_keys`` checks the file of API keys.

    Raises:
        SettingsError: If another user can change one of the files.
    """
    checked = [(".env", env_file, stat.S_IWOTH)]
    if settings.secrets_file is not None:
        checked.append(("SECRETS_FILE", ROOT / settings.secrets_file.expanduser(), OTHERS_WRITE))
    if settings.data_encryption_key is None and (file := key_file_of(settings)) is not None:
        checked.append(("DATA_ENCRYPTION_KEY is not set, and its file", file, OTHERS_WRITE))
    for name, path, forbidden in checked:
        if (reason := insecure_mode_reason(path, forbidden)) is not None:
            raise SettingsError(f"{name}: {reason}")


def key_file_of(settings: Settings) -> Path | None:
    """Return the file with the encryption key; ``None`` if the database is not a file."""
    try:
        file = read_address(settings.url).file
    except StorageUnavailableError:  # is reported later, when the database is opened
        return None
    return None if file is None else file.with_name(f"{file.name}.key")


def why_code_is_open(settings: Settings, addresses: Sequence[str]) -> str | None:
    """Return why a service without keys must not run ``code`` nodes; ``None`` if it may.

    ``addresses`` are those on which other machines can connect.
    """
    if not settings.enable_code_node or settings.allow_code_node_without_keys or not addresses:
        return None
    return (
        f"ENABLE_CODE_NODE=true without API keys lets every client of {addresses[0]} run "
        "Python on this machine; set API_KEYS, or API_HOST=127.0.0.1, or confirm with "
        "ALLOW_CODE_NODE_WITHOUT_KEYS=true"
    )
