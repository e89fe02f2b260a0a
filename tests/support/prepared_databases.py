"""Prepared databases: copies of a migrated database, because migrations take half of a start.

The processes of ``./test.sh`` share them: the first process that needs one makes it.
"""

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from database import Database, ExampleWorkflow
from tests.support.conditions import WAIT_TIMEOUT_SECONDS, wait_until
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
    path = session_file("prepared", examples, "sqlite")
    with made_once(path) as unfinished:
        if unfinished is not None:
            # In another thread, because the caller's thread may already run an event loop.
            with ThreadPoolExecutor(1) as thread:
                work = prepare(f"sqlite+aiosqlite:///{unfinished}", examples)
                thread.submit(asyncio.run, work).result()
    return path


def session_file(name: str, examples: Examples, suffix: str) -> Path:
    """Return the path of a file about these workflows that the processes of a session share."""
    key = hashlib.sha256(repr(examples).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"{name}-{key}.{suffix}"


@contextmanager
def made_once(path: Path, seconds: float = WAIT_TIMEOUT_SECONDS) -> Iterator[Path | None]:
    """Let one process of the session make a file; the other processes wait for it.

    ``seconds`` is the timeout of the other processes.

    Yields the path of the unfinished file, or None in a process that does not make it.
    """
    try:
        path.with_suffix(".begun").touch(exist_ok=False)
    except FileExistsError:
        wait_until(path.exists, seconds)
        yield None
        return
    unfinished = path.with_suffix(".unfinished")
    yield unfinished
    unfinished.replace(path)
