"""Command line of ``start_worker.py`` and the settings of the work pool."""

import subprocess
import sys
from pathlib import Path

import pytest

import start_service
import start_worker
from config import ROOT, Settings, SettingsError, load_settings
from tests.unit.test_command_line import HEAVY
from worker_setup import worker_settings

POOL = {"PREFECT_API_URL": "http://127.0.0.1:4200/api", "PREFECT_WORK_POOL": "pool"}


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Settings, object]]:
    """Record each start instead of starting, without the user's settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    started: list[tuple[Settings, object]] = []

    def run(settings: Settings, options: object) -> int:
        started.append((settings, options))
        return 0

    monkeypatch.setattr(start_worker, "run", run)
    monkeypatch.setattr(start_worker.gc, "disable", lambda: None)
    monkeypatch.setattr(start_worker.sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr("flows.prefect_adapter.environment.prepare_prefect", lambda *_: None)
    monkeypatch.setattr("flows.prefect_adapter.environment.prepare_pool_polling", lambda: None)
    return started


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--limit", "0"], "0 is not in the range"),
        (["--limit", "many"], "'many' is not a valid integer"),
        (["--name", "a/b"], "'a/b' contains '/' or '%'"),
        (["--metrics-port", "0"], "0 is not in the range"),
        (["--pol", "x"], "--pool"),
        (["pool"], "pool"),
    ],
)
def test_a_wrong_argument_starts_nothing(
    arguments: list[str], named: str, runs: list[object], capsys: pytest.CaptureFixture[str]
):
    assert start_worker.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert f"{start_worker.COMMAND} --help" in line
    assert runs == []


def test_options_override_the_settings(
    runs: list[tuple[Settings, start_worker.Options]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_WORK_POOL", "other")
    arguments = ["--pool", "pool", "--name", "n", "--limit", "3", "--metrics-port", "9100"]
    assert start_worker.main(arguments) == 0
    ((settings, options),) = runs
    assert settings.execution_mode == "workpool"
    assert settings.prefect_work_pool == "pool"
    assert settings.max_concurrent_executions == 3
    assert options == start_worker.Options("n", 9100)


def test_a_wrong_pool_name_is_an_error_of_the_setting(
    runs: list[object], capsys: pytest.CaptureFixture[str]
):
    assert start_worker.main(["--pool", "a/b"]) == 2
    assert "PREFECT_WORK_POOL='a/b'" in capsys.readouterr().err
    assert runs == []


@pytest.mark.parametrize("missing", POOL)
def test_the_work_pool_needs_both_settings(missing: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in POOL.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"EXECUTION_MODE=workpool requires {missing}"):
        worker_settings(load_settings(execution_mode="workpool"))


def test_the_embedded_mode_ignores_the_work_pool(monkeypatch: pytest.MonkeyPatch):
    for name, value in POOL.items():
        monkeypatch.setenv(name, value)
    assert worker_settings(load_settings()).prefect_work_pool is None
    assert worker_settings(load_settings(execution_mode="workpool")).prefect_work_pool == "pool"


def test_the_deployment_needs_the_settings(capsys: pytest.CaptureFixture[str]):
    assert start_service.main(["register-deployment"]) == 2
    assert "requires PREFECT_API_URL" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys, start_worker; start_worker.main(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
    for option in ("--pool", "--name", "--limit", "--metrics-port"):
        assert option in result.stdout


def test_a_service_does_not_import_prefects_workers():
    code = "import sys, api_service; print('prefect.workers' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
