"""Prepared databases: copies of a migrated database, because migrations take half of a start."""

import asyncio
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from api_service import example_workflows
from database import Database


async def prepare(url: str) -> None:
    """Migrate a new database, as the service does when it starts."""
    database = Database(url)
    try:
        await database.prepare(example_workflows())
    finally:
        await database.close()


def copy_prepared_sqlite(path: Path) -> None:
    """Create a migrated SQLite file at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(prepared_sqlite(), path)
    path.chmod(0o600)  # the mode of files that the service creates


@cache
def prepared_sqlite() -> Path:
    """Return the path of a migrated SQLite file; do not change it."""
    path = Path(tempfile.mkdtemp(prefix="prepared-")) / "database.sqlite"
    # In another thread, because the caller's thread may already run an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, prepare(f"sqlite+aiosqlite:///{path}")).result()
    return path
