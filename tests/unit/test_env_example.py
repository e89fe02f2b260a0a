"""``.env.example`` contains every setting with its default and a description."""

from pathlib import Path

import pytest

from config import ROOT, Settings

EXAMPLE = ROOT / ".env.example"
LINES = EXAMPLE.read_text(encoding="utf-8").splitlines()
NAMES = [line.partition("=")[0] for line in LINES if line and not line.startswith("#")]


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_file_names_exactly_the_settings():
    assert sorted(NAMES) == sorted(name.upper() for name in Settings.model_fields)


def test_a_copy_of_the_file_changes_nothing():
    copied = Settings(_env_file=EXAMPLE).model_dump()  # pyright: ignore[reportCallIssue]
    defaults = Settings(_env_file=None).model_dump()  # pyright: ignore[reportCallIssue]
    assert _absolute(copied) == _absolute(defaults)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained(name: str):
    at = next(i for i, line in enumerate(LINES) if line.startswith(f"{name}="))
    assert LINES[at - 1].startswith("# ")


def _absolute(settings: dict[str, object]) -> dict[str, object]:
    return {
        name: ROOT / value if isinstance(value, Path) else value for name, value in settings.items()
    }
