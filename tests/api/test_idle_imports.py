"""An idle service has imported only the modules that every execution needs.

Each module costs time at the start and memory until the end. The rest is imported when it is used.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from database.schema import MIGRATIONS, newest_revision
from tests.support.prepared_databases import copy_prepared_sqlite

NOT_FOR_AN_IDLE_SERVICE = (
    "aiosqlite",  # the service's connections use the standard library's driver
    "alembic",  # the schema is the newest one
    "asyncpg",  # the database is a SQLite file
    "cryptography",  # no node hides its data
    "jwt",  # no client uses a token
    "openai",  # no llm node runs
    "opentelemetry.exporter",  # no collector of traces is set
    "opentelemetry.sdk",
    "prefect.server",  # Prefect is embedded
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
)
MAX_MEMORY_RATIO = 1.8
"""Maximum memory of an idle service, in multiples of a process that only imports Prefect."""

_MEMORY = """
def memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
"""
_IDLE_SERVICE = """
import asyncio, gc, json, sys
from pathlib import Path
from flows.prefect_adapter.environment import prepare_prefect
gc.disable()
prepare_prefect(None, Path("prefect"))
import api.server
from api_service import create_app
from config import load_settings
from logs import configure_logging
configure_logging("WARNING", "console")

async def main():
    app = create_app(load_settings(database_path=str(Path("database.sqlite").resolve())))
    async with app.router.lifespan_context(app):
        print(json.dumps({"modules": sorted(sys.modules), "memory": memory()}))

asyncio.run(main())
"""


def run(script: str, directory: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _MEMORY + script]
    ended = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return ended.stdout


@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_an_idle_service_imports_only_what_every_execution_needs(tmp_path: Path) -> None:
    copy_prepared_sqlite(tmp_path / "database.sqlite")

    idle = json.loads(run(_IDLE_SERVICE, tmp_path))
    imports_prefect = "from prefect import flow, task\nimport prefect.task_engine\nprint(memory())"
    prefect_alone = int(run(imports_prefect, tmp_path))

    assert [name for name in NOT_FOR_AN_IDLE_SERVICE if name in idle["modules"]] == []
    assert idle["memory"] <= MAX_MEMORY_RATIO * prefect_alone


def test_the_newest_revision_is_the_head_of_the_migrations() -> None:
    from alembic.config import Config  # noqa: PLC0415 - only this test needs it
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_current_head() == newest_revision()
