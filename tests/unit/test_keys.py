"""API keys: valid entries of the settings, and the errors of invalid ones."""

from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

import pytest

import start_service
from api.auth import api_keys
from api.auth.api_keys import ApiKeys, KeysError, Role, new_key, read_keys

DIGEST = sha256(b"a key").hexdigest()
OTHER = sha256(b"another key").hexdigest()


def test_entries_of_the_environment_and_of_a_file_count_together(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n  # theirs\nshop:run:org:with,both:{OTHER.upper()}\n")
    ring = read_keys(f" page:read:*:{DIGEST} ,\n", file)
    assert [(key.name, key.role, key.organization_id) for key in ring.keys] == [
        ("page", Role.READ, None),
        ("shop", Role.RUN, "org:with,both"),
    ]
    found = ring.find(b"another key")
    assert found is not None
    assert found.name == "shop"
    assert ring.find(b"a third key") is None


def test_without_the_settings_no_keys_exist():
    assert read_keys(None, None) == ApiKeys()


WRONG = [
    ("wos_a-key-itself", "an entry should be"),
    (f"page:read:{DIGEST}", "an entry 'page' should be"),
    (f"two words:read:*:{DIGEST}", "an entry should be"),
    (f":read:*:{DIGEST}", "an entry should be"),
    (f"page:write:*:{DIGEST}", "the role of 'page' should be read, run, admin"),
    (f"page:READ:*:{DIGEST}", "the role of 'page'"),
    (f"page:read::{DIGEST}", "the organization of 'page'"),
    ("page:read:*:wos_a-key-itself", "the last part of 'page' should be the SHA-256"),
    (f"page:read:*:{DIGEST[1:]}", "the last part of 'page'"),
    (f"page:read:*:{DIGEST},page:run:*:{OTHER}", "two entries have the name 'page'"),
    (f"page:read:*:{DIGEST},shop:run:A:{DIGEST}", "'page' and 'shop' have the same key"),
    (",\n,", "contains no entry"),
]


@pytest.mark.parametrize(("text", "why"), WRONG)
def test_an_invalid_entry_is_reported_in_one_line_without_the_key(text: str, why: str):
    with pytest.raises(KeysError) as error:
        read_keys(text, None)
    message = str(error.value)
    assert message.startswith("API_KEYS: ")
    assert why in message
    assert "\n" not in message
    assert "wos_a-key-itself" not in message
    assert DIGEST[1:] not in message


def test_a_missing_or_empty_key_file_is_rejected(tmp_path: Path):
    empty = tmp_path / "keys"
    empty.write_text("# no entry yet\n")
    with pytest.raises(KeysError, match=r"^API_KEYS_FILE: contains no entry"):
        read_keys(None, empty)
    with pytest.raises(KeysError, match=r"^API_KEYS_FILE: .+ cannot be read"):
        read_keys(None, tmp_path / "nothing")


def test_every_key_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
):
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    ring = read_keys(f"page:read:*:{DIGEST},shop:run:A:{OTHER}", None)
    monkeypatch.setattr(api_keys.hmac, "compare_digest", compare)
    for shown in (b"a key", b"another key", b"none"):
        ring.find(shown)
        digest = sha256(shown).hexdigest()
        assert compared == [(DIGEST, digest), (OTHER, digest)]
        compared.clear()


def test_a_new_key_is_random_and_matches_its_entry(capsys: pytest.CaptureFixture[str]):
    keys = [new_key("shop", "run", "A") for _ in range(2)]
    assert keys[0][0] != keys[1][0]
    assert all(len(key) == len("wos_") + 43 for key, _ in keys)  # 32 bytes

    assert start_service.print_new_key("page", "read", "*") == 0
    lines = capsys.readouterr().out.splitlines()
    key, entry = (line.rpartition(" ")[2] for line in lines)
    found = read_keys(entry, None).find(key.encode())
    assert found is not None
    assert (found.name, found.role, found.organization_id) == ("page", Role.READ, None)
    assert key not in entry


def test_an_invalid_role_creates_no_key(capsys: pytest.CaptureFixture[str]):
    assert start_service.print_new_key("page", "write", "*") == 2
    output = capsys.readouterr()
    assert (output.out, len(output.err.splitlines())) == ("", 1)
