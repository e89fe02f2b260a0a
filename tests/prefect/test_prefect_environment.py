"""The service defines Prefect's settings and ignores the user's settings for Prefect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from flows.prefect_adapter.environment import EMBEDDED_API_URL, is_embedded, prepare_prefect
from flows.prefect_adapter.runs import prefect_context

ROOT = Path(__file__).parents[2]


async def test_the_context_requires_the_preparation():
    with pytest.raises(RuntimeError, match="prepare_prefect"):
        async with prefect_context("http://127.0.0.1:4200/api"):
            pass


def test_the_written_api_url_means_embedded():
    assert is_embedded(None)
    assert is_embedded(os.environ["PREFECT_API_URL"])  # as the settings of a child process read it
    assert not is_embedded("http://127.0.0.1:4200/api")


def test_a_preparation_after_the_import_applies(tmp_path):
    prepare_prefect("http://127.0.0.1:4299/api/", tmp_path / "a" / "home")
    settings = get_current_settings()
    assert settings.api.url == "http://127.0.0.1:4299/api"
    assert settings.home == tmp_path / "a" / "home"
    prepare_prefect(None, tmp_path)
    assert get_current_settings().api.url == EMBEDDED_API_URL


CLOUD = "https://api.prefect.cloud/api/accounts/a/workspaces/w"

PROFILES = f"""
active = "cloud"
[profiles.cloud]
PREFECT_API_URL = "{CLOUD}"
PREFECT_API_KEY = "secret"
"""

SCRIPT = """
import asyncio, os, socket, sys
from pathlib import Path

def refuse(*args, **kwargs):
    raise AssertionError(f"network: {args}")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

if sys.argv[1] == "imported-before":
    import prefect
from flows.prefect_adapter.environment import prepare_prefect
prepare_prefect(None, Path(os.environ["PREFECT_HOME"]))
from prefect import flow, task
from prefect.settings import get_current_settings
from flows.prefect_adapter.runs import prefect_context, run_flow

@task
async def one():
    return 1

@flow
async def small(execution_id: str):
    await one()

async def main():
    async with prefect_context(None) as client:
        settings = get_current_settings()
        state = await run_flow(small, "e", "n")
        print(settings.api.url, settings.api.key, state.name)

asyncio.run(main())
print(get_current_settings().api.url, "analytics" in str(sys.modules.get("amplitude")))
"""


@pytest.mark.parametrize("imported", ["imported-before", "imported-after"])
def test_prefect_settings_of_the_user_are_ignored(tmp_path, imported):
    home, service_home, cwd = (tmp_path / name for name in ("home", "service", "cwd"))
    for directory in (home / ".prefect", service_home, cwd):
        directory.mkdir(parents=True)
        (directory / "profiles.toml").write_text(PROFILES)
    (cwd / "prefect.toml").write_text(f'[api]\nurl = "{CLOUD}"\n')
    (cwd / ".env").write_text(f"PREFECT_API_URL={CLOUD}\n")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "DO_NOT"))},
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(service_home),
        "PREFECT_PROFILE": "cloud",
        "PREFECT_API_URL": CLOUD,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, imported],
        check=False,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == [f"{EMBEDDED_API_URL} None Completed", f"{EMBEDDED_API_URL} False"]
    assert "Traceback" not in done.stderr
    assert "Beginning flow run" not in done.stderr
    # Nothing is written to the user's directory.
    assert [p.name for p in (home / ".prefect").iterdir()] == ["profiles.toml"]
