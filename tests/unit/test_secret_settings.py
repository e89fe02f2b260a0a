"""Secrets: their sources, and the ones that are rejected at start."""

from pathlib import Path
from typing import Any

import pytest

import config
from config import Settings, SettingsError, load_secrets, load_settings


def settings_with(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]


def test_secrets_of_the_environment_override_the_env_file_and_the_secrets_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("SECRET_A=from-dotenv\nSECRET_B=from-dotenv\nOTHER=x\n")
    (tmp_path / "more").write_text("# lines\nA=from-file\nB=from-file\nC='from # $file'\nEMPTY=\n")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setenv("SECRET_A", "from-environment")

    assert load_secrets(settings_with(secrets_file=tmp_path / "more")) == {
        "A": "from-environment",
        "B": "from-dotenv",
        "C": "from # $file",
    }


def test_a_secrets_file_may_be_json(tmp_path: Path):
    (tmp_path / "secrets").write_text('{"A": "one\\nline", "B": "two-2"}')

    assert load_secrets(settings_with(secrets_file=tmp_path / "secrets")) == {
        "A": "one\nline",
        "B": "two-2",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"A": 12345}', "the value of 'A' should be a string"),
        ('{"A": ', "is not valid JSON"),
        ("A=abc", "SECRET_A: the value is shorter than 4 characters"),
        ('{"a b": "hunter2"}', "'a b': its name should have only letters, digits and _"),
        (None, "cannot be read"),
    ],
)
def test_an_invalid_secret_stops_the_start_and_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
):
    if text is not None:
        (tmp_path / "secrets").write_text(text)
    monkeypatch.setenv("SECRETS_FILE", str(tmp_path / "secrets"))

    with pytest.raises(SettingsError, match=message) as error:
        load_settings()
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_short_data_key_is_rejected_and_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATA_ENCRYPTION_KEY", "hunter2")

    with pytest.raises(SettingsError, match="DATA_ENCRYPTION_KEY: ") as error:
        load_settings()
    assert "hunter2" not in str(error.value)
