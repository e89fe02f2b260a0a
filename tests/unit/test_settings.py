"""Settings: working defaults, and invalid values that stop the start with one line."""

from pathlib import Path

import pytest

import start_service
from config import ROOT, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")


WRONG = [
    ("API_PORT", "abc"),
    ("API_PORT", "65536"),
    ("API_PORT", "-1"),
    ("API_PORT", ""),
    ("MAX_CONCURRENT_EXECUTIONS", "0"),
    ("MAX_CONCURRENT_EXECUTIONS", "many"),
    ("MAX_PENDING_EXECUTIONS", "0"),
    ("MAX_RECOVERY_ATTEMPTS", "0"),
    ("EXECUTION_TIMEOUT_SECONDS", "0"),
    ("EXECUTION_TIMEOUT_SECONDS", "an hour"),
    ("EXECUTION_RETENTION_DAYS", "0"),
    ("EXECUTION_RETENTION_COUNT", "-1"),
    ("EXECUTION_RETENTION_COUNT", "1.5"),
    ("LEASE_SECONDS", "0"),
    ("LEASE_SECONDS", "nan"),
    ("POLL_INTERVAL_SECONDS", "0"),
    ("SHUTDOWN_GRACE_SECONDS", "-1"),
    ("LLM_TIMEOUT_SECONDS", "0"),
    ("LLM_TIMEOUT_SECONDS", "inf"),
    ("HTTP_TIMEOUT_SECONDS", "soon"),
    ("HTTP_TIMEOUT_SECONDS", "nan"),
    ("ENABLE_CODE_NODE", "perhaps"),
    ("CODE_TIMEOUT_SECONDS", "0"),
    ("CODE_TIMEOUT_SECONDS", "inf"),
    ("CODE_MEMORY_MB", "63"),
    ("CODE_MEMORY_MB", "0.5 GB"),
    ("CALLBACK_TIMEOUT_SECONDS", "0"),
    ("TOKEN_TTL_SECONDS", "0"),
    ("TOKEN_TTL_SECONDS", "86401"),
    ("MAX_REQUEST_BODY_BYTES", "1023"),
    ("MAX_REQUEST_BODY_BYTES", "10 MB"),
    ("REQUEST_BODY_TIMEOUT_SECONDS", "0"),
    ("REQUEST_BODY_TIMEOUT_SECONDS", "nan"),
    ("CALLBACK_TIMEOUT_SECONDS", "nan"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("PREFECT_API_URL", "127.0.0.1:4200"),
    ("PREFECT_API_URL", "ftp://prefect/api"),
    ("OPENAI_BASE_URL", "localhost"),
]


SHORT = "c2hvcnQ="
LONG = "A" * 88

FORGED = [
    (SHORT, "24 to 64 bytes"),
    (LONG, "24 to 64 bytes"),
    ("whsec_AAAA", "24 to 64 bytes"),
    (f"whsec_{'?' * 32}", "base64"),
    ("correct horse battery staple, twice", "base64"),
]


@pytest.mark.parametrize(("value", "reason"), FORGED)
def test_an_invalid_secret_is_one_line_that_names_the_setting_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    monkeypatch.setenv("CALLBACK_SIGNING_SECRET", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    line = str(raised.value)
    assert line.startswith("CALLBACK_SIGNING_SECRET: ")
    assert reason in line
    assert value not in line
    assert "\n" not in line


def test_a_secret_for_tokens_that_is_too_short_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN_SECRET", "x" * 31)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == "TOKEN_SECRET: Input should have at least 32 bytes"
    monkeypatch.setenv("TOKEN_SECRET", "x" * 32)
    assert load_settings().token_secret is not None


def test_a_relative_key_file_is_next_to_the_service(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("API_KEYS_FILE", "keys.txt")
    assert load_settings().api_keys_file == ROOT / "keys.txt"
    for blank in ("", " "):
        monkeypatch.setenv("API_KEYS_FILE", blank)
        monkeypatch.setenv("API_KEYS", blank)
        assert load_settings().api_keys_file is None
        assert load_settings().key_entries is None


@pytest.mark.parametrize("secret", ["whsec_" + "A" * 32, "A" * 32, "A" * 43 + "=", "A" * 43, " "])
def test_a_secret_may_be_written_with_or_without_its_prefix(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("CALLBACK_SIGNING_SECRET", secret)
    kept = load_settings().callback_signing_secret
    assert (kept.get_secret_value() if kept else " ") == secret


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_invalid_value_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    line = str(raised.value)
    assert line.startswith(f"{name}={value!r}: ")
    assert "\n" not in line


def test_all_invalid_values_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "abc")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"API_PORT='abc': .*; LOG_LEVEL='loud': "):
        load_settings()


@pytest.mark.parametrize(
    "name",
    ["EXECUTION_TIMEOUT_SECONDS", "EXECUTION_RETENTION_DAYS", "EXECUTION_RETENTION_COUNT"],
)
def test_a_blank_value_is_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, " ")
    assert getattr(load_settings(), name.lower()) is None


@pytest.mark.parametrize("value", ["debug", "Info", "WARNING"])
def test_the_log_level_may_be_written_in_any_case(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LOG_LEVEL", value)
    assert load_settings().log_level == value.upper()


def test_an_invalid_value_in_the_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=abc\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="API_PORT='abc'"):
        load_settings()


def test_an_undecodable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"API_PORT=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read") as raised:
        load_settings()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name", ["API_HOST", "DATABASE_PATH", "PREFECT_HOME", "LLM_MODEL", "CORS_ORIGINS"]
)
def test_other_environment_variables_are_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"MY_{name}", "whatever")
    assert load_settings() == Settings(_env_file=None)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("name", ["DATABASE_PATH", "PREFECT_HOME"])
def test_relative_paths_start_at_the_services_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "some/where")
    settings = load_settings()
    found = {"DATABASE_PATH": settings.database_file, "PREFECT_HOME": settings.prefect_home}
    assert found[name] == ROOT / "some" / "where"


@pytest.mark.parametrize("name", ["DATABASE_PATH", "PREFECT_HOME"])
def test_absolute_paths_and_the_home_directory_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for value in (str(tmp_path / "here"), "~/here"):
        monkeypatch.setenv(name, value)
        settings = load_settings()
        found = {"DATABASE_PATH": settings.database_file, "PREFECT_HOME": settings.prefect_home}
        assert found[name] == (tmp_path / "here").resolve()


def test_the_default_database_is_next_to_the_directory_of_the_service() -> None:
    assert load_settings().database_file == ROOT.parent / "database.sqlite"
    assert load_settings().prefect_home == ROOT / ".prefect"


def test_an_invalid_setting_ends_the_start_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_EXECUTIONS", "0")
    assert start_service.main() == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Wrong setting: MAX_CONCURRENT_EXECUTIONS='0': ")
    assert output.err.count("\n") == 1


def test_secrets_are_not_shown() -> None:
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        openai_api_key="sk-hidden",
        callback_signing_secret="whsec_hidden" + "A" * 30,
        database_url="postgresql+asyncpg://u:hidden@h/d",
    )
    assert "hidden" not in repr(settings) + str(settings)
