"""Command line of ``start_service.py``: an invalid argument starts nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import start_service
from config import ROOT, Settings
from tests.support.service import RunningService
from version import VERSION

HEAVY = ["prefect", "fastapi", "sqlalchemy", "pydantic", "uvicorn", "config", "api", "database"]


@pytest.fixture(autouse=True)
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Settings]:
    """Record the settings of every start instead of starting, without the user's settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setenv("DATABASE_PATH", str(tmp_path / "database.sqlite"))
    served: list[Settings] = []

    def serve(settings: Settings, sockets: object, *, is_open: bool) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr(start_service, "serve", serve)
    monkeypatch.setattr(start_service, "bind", lambda host, port: [])
    return served


WRONG = [
    (["--chek"], "--check"),
    (["-check"], "-c"),
    (["--prot", "9000"], "'--port'"),
    (["-port", "9000"], "-p"),
    (["--hots", "::"], "'--host'"),
    (["--new_key", "a", "run", "b"], "'--new-key'"),
    (["--verison"], "--version"),
    (["foo"], "'foo'"),
    ([""], "''"),
    (["dmo"], "'demo'"),
    (["demo", "foo"], "foo"),
    (["demo", "--hlep"], "'--help'"),
    (["demo", "--port", "9000"], "'--port'"),
    (["--port"], "'--port'"),
    (["--port", "abc"], "'abc' is not a valid integer"),
    (["--port", "65536"], "65536 is not in the range 0<=x<=65535"),
    (["--port", "-1"], "-1 is not in the range 0<=x<=65535"),
    (["--port="], "'' is not a valid integer"),
    (["--port", "9" * 5000], "is not a valid integer"),
    (["--host", ""], "'--host'"),
    (["--host", "http://0.0.0.0"], "'http://0.0.0.0'"),
    (["--host", "localhost:9000"], "the port is API_PORT"),
    (["--host", "[::1]:9000"], "'[::1]:9000'"),
    (["--check", "--port", "9000"], "--check cannot be combined with --port"),
    (["--check", "--new-key", "a", "run", "b"], "--check cannot be combined with --new-key"),
    (["--check", "demo"], "--check cannot be combined with demo"),
    (["--port", "9000", "demo"], "--port cannot be combined with demo"),
    (["--check=yes"], "'--check'"),
    (["--new-key", "page", "read"], "requires 3 arguments"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=lambda value: str(value)[:40])
def test_an_invalid_command_line_starts_nothing_and_is_one_line_that_names_the_argument(
    arguments: list[str],
    named: str,
    starts: list[Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start_service.main(arguments) == 2
    printed = capsys.readouterr()
    assert starts == []
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert named in printed.err
    assert "--help" in printed.err


def test_without_arguments_the_service_starts_with_its_settings(starts: list[Settings]) -> None:
    assert start_service.main([]) == 0
    assert [(settings.api_host, settings.api_port) for settings in starts] == [("0.0.0.0", 8000)]


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--port", "9000"], ("10.0.0.1", 9000)),
        (["--port=0"], ("10.0.0.1", 0)),
        (["--host", "localhost"], ("localhost", 7000)),
        (["--host", "[::1]", "--port", "9000"], ("::1", 9000)),
    ],
)
def test_host_and_port_override_the_settings(
    arguments: list[str],
    address: tuple[str, int],
    starts: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_HOST", "10.0.0.1")
    monkeypatch.setenv("API_PORT", "7000")
    assert start_service.main(arguments) == 0
    assert [(settings.api_host, settings.api_port) for settings in starts] == [address]


def test_a_setting_that_an_option_overrides_may_be_invalid(
    starts: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "abc")
    assert start_service.main([]) == 2
    assert start_service.main(["--port", "9000"]) == 0
    assert [settings.api_port for settings in starts] == [9000]


def test_an_invalid_option_is_named_as_it_was_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    label = "a" * 64  # the longest label of a host name has 63 characters
    assert start_service.main(["--host", label, "--port", "0"]) == 1
    line = f"Cannot listen on --host {label} --port 0: this is not a valid host name\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("wrong", [" ", "http://localhost", "localhost:8000", "a b"])
def test_an_invalid_api_host_is_named(
    wrong: str,
    starts: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("API_HOST", wrong)
    assert start_service.main([]) == 2
    assert capsys.readouterr().err.startswith(f"Wrong setting: API_HOST={wrong!r}: ")
    assert starts == []


@pytest.mark.parametrize("option", ["--version", "--help", "-h"])
def test_help_and_version_import_no_slow_modules(option: str) -> None:
    code = (
        "import sys, start_service\n"
        f"code = start_service.main([{option!r}])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(code)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr, lines[-1]) == (0, "", "[]")
    shown = [VERSION] if option == "--version" else ["--host", "--check", "--new-key", "demo", "2"]
    assert all(text in ended.stdout for text in shown)


def test_a_key_is_created_and_a_misspelled_role_is_rejected(
    starts: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start_service.main(["--new-key", "shop", "run", "org-7"]) == 0
    assert "shop:run:org-7:" in capsys.readouterr().out
    assert start_service.main(["--new-key", "shop", "rnu", "org-7"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the role of 'shop' should be read, run, admin" in printed.err
    assert starts == []


def test_a_check_of_a_live_database_starts_no_second_service(
    tmp_path: Path,
    starts: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RunningService(tmp_path) as service:
        monkeypatch.setenv("DATABASE_PATH", str(service.path))
        capsys.readouterr()  # the log of the running service
        assert start_service.main(["--check"]) == 0
        assert capsys.readouterr().out == f"OK: every invariant holds in {service.path}\n"
    assert starts == []


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/guarantees.md"])
def test_the_docs_show_the_check(page: str) -> None:
    assert "./start.sh --check" in (ROOT / page).read_text(encoding="utf-8")
