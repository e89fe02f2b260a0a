"""Start without keys: warnings and errors about clients that could use the service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_start import SCRIPT, START_SECONDS, failed_start, started
from tests.support.access import ENTRIES, key_of

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize(
    ("host", "keys", "warnings"),
    [("0.0.0.0", "", 1), ("127.0.0.1", "", 0), ("localhost", "", 0), ("0.0.0.0", ENTRIES, 0)],
)
def test_one_line_warns_if_no_keys_are_set(tmp_path: Path, host: str, keys: str, warnings: int):
    with started(tmp_path, API_HOST=host, API_KEYS=keys) as process:
        process.port()
        lines = process.lines
    warned = [json.loads(line) for line in lines if '"authentication_disabled"' in line]
    assert len(warned) == warnings
    for line in warned:
        assert line["level"] == "warning"
        assert "API_KEYS" in line["hint"]
    assert not any(key_of("read") in line for line in lines)


def test_an_invalid_key_stops_the_start_in_one_line_without_the_key(tmp_path: Path):
    code, line = failed_start(tmp_path, API_KEYS=f"page:read:*:{key_of('read')}")
    assert code == 2
    assert line.startswith("Wrong setting: API_KEYS: the last part of 'page' should be ")
    assert key_of("read") not in line
    code, line = failed_start(tmp_path, API_KEYS_FILE=tmp_path / "nothing")
    assert (code, line.startswith("Wrong setting: API_KEYS_FILE: ")) == (2, True)
    assert not (tmp_path / "database.sqlite").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_code_nodes_without_keys_on_a_public_address_stop_the_start(tmp_path: Path, host: str):
    code, line = failed_start(tmp_path, API_HOST=host, ENABLE_CODE_NODE="true")
    assert code == 2
    for way_out in ("API_KEYS", "API_HOST=127.0.0.1", "ALLOW_CODE_NODE_WITHOUT_KEYS=true"):
        assert way_out in line
    assert line.startswith("Wrong setting: ENABLE_CODE_NODE=true without API keys")
    assert not (tmp_path / "database.sqlite").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"API_HOST": "127.0.0.1"},
        {"API_HOST": "0.0.0.0", "API_KEYS": ENTRIES},
        {"API_HOST": "0.0.0.0", "ALLOW_CODE_NODE_WITHOUT_KEYS": "true"},
    ],
    ids=["on loopback", "with keys", "confirmed"],
)
def test_code_nodes_start_on_loopback_with_keys_or_when_confirmed(
    tmp_path: Path, settings: dict[str, Any]
):
    with started(tmp_path, ENABLE_CODE_NODE="true", **settings) as process:
        assert process.port() > 0


def test_files_that_others_can_change_stop_the_start_in_one_line(tmp_path: Path):
    for setting, text in (("API_KEYS_FILE", ENTRIES), ("SECRETS_FILE", "SHOP_KEY=long-enough")):
        (tmp_path / "file").write_text(text, encoding="utf-8")
        (tmp_path / "file").chmod(0o666)
        code, line = failed_start(tmp_path, **{setting: tmp_path / "file"})
        assert code == 2
        assert line.startswith(f"Wrong setting: {setting}: other users can write ")


def test_a_command_creates_a_key(tmp_path: Path):
    command = [sys.executable, SCRIPT, "--new-key", "page", "read", "*"]
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=START_SECONDS, cwd=tmp_path, check=True
    )
    assert completed.stderr == ""
    first, second = completed.stdout.splitlines()
    assert first.rpartition(" ")[2].startswith("wos_")
    assert second.rpartition(" ")[2].startswith("page:read:*:")
    assert list(tmp_path.iterdir()) == []
