"""Prepared databases: copies of a migrated database, because migrations take half of a start."""

import asyncio
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from database import Database, ExampleWorkflow
from worker_setup import example_workflows

Examples = tuple[ExampleWorkflow, ...]
"""Workflows of a new database."""

DEFAULT_EXAMPLES: Examples = tuple(example_workflows())
"""The workflows that the service adds to a new database."""


async def prepare(url: str, examples: Examples) -> None:
    """Migrate a new database, as the service does when it starts."""
    database = Database(url)
    try:
        await database.prepare(examples)
    finally:
        await database.close()


def copy_prepared_sqlite(path: Path, examples: Examples = DEFAULT_EXAMPLES) -> None:
    """Create a migrated SQLite file at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(prepared_sqlite(examples), path)
    path.chmod(0o600)  # the mode of files that the service creates


@cache
def prepared_sqlite(examples: Examples = DEFAULT_EXAMPLES) -> Path:
    """Return the path of a migrated SQLite file; do not change it."""
    path = Path(tempfile.mkdtemp(prefix="prepared-")) / "database.sqlite"
    # In another thread, because the caller's thread may already run an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, prepare(f"sqlite+aiosqlite:///{path}", examples)).result()
    return path
