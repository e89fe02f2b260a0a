"""Data encryption: results of nodes with hideData are read with the same key only."""

import base64
import json
from pathlib import Path

import pytest

from database.encryption import DataEncryption
from engine.errors import StorageUnavailableError

RESULT = {"success": True, "outputData": {"pin": 4711}}
KEY = "a key of sixteen+"


def test_a_result_is_read_with_the_same_key_only():
    stored = DataEncryption(KEY, None).encrypt(RESULT)
    assert "4711" not in stored
    assert DataEncryption(KEY, None).decrypt(json.loads(stored)) == RESULT
    with pytest.raises(StorageUnavailableError, match="another key"):
        DataEncryption("another key of 16", None).decrypt(json.loads(stored))


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"hidden": True},
        {"hidden": True, "sealed": 1},
        {"sealed": "text"},
        {"hidden": False, "sealed": "text"},
        {"hidden": 1, "sealed": "text"},
    ],
)
def test_a_result_that_is_not_encrypted_is_not_decrypted(detail: dict[str, object]):
    assert DataEncryption(None, None).decrypt(detail) is None  # type: ignore[arg-type]


def test_the_key_file_is_created_once_with_a_random_key(tmp_path: Path):
    first, second = tmp_path / "first.key", tmp_path / "second.key"
    stored = json.loads(DataEncryption(None, first).encrypt(RESULT))
    key = first.read_bytes()
    assert len(base64.urlsafe_b64decode(key)) == 32
    assert DataEncryption(None, first).decrypt(stored) == RESULT
    assert first.read_bytes() == key
    DataEncryption(None, second).encrypt(RESULT)
    assert second.read_bytes() != key
    assert sorted(tmp_path.iterdir()) == [first, second]
    # The file may contain the key of the setting, with a line end.
    first.write_text(f"{KEY}\n", encoding="utf-8")
    of_setting = json.loads(DataEncryption(KEY, None).encrypt(RESULT))
    assert DataEncryption(None, first).decrypt(of_setting) == RESULT


def test_a_key_that_cannot_be_read_is_reported(tmp_path: Path):
    empty = tmp_path / "empty.key"
    empty.write_bytes(b" \n")
    empty.chmod(0o600)
    for file, reason in (
        (None, "need DATA_ENCRYPTION_KEY"),
        (empty, "empty.key is empty"),
        (tmp_path / "missing" / "x.key", "the key file cannot be used"),
    ):
        with pytest.raises(StorageUnavailableError, match=reason):
            DataEncryption(None, file).encrypt(RESULT)
