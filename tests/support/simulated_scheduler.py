"""Simulated scheduler: a process that runs the scheduler of a service with a clock of the test.

The test writes the time to the file ``CLOCK_FILE`` and kills the process. The process writes each
time at which it has started all due executions to ``IDLE_FILE``.
"""

import asyncio
import os
from datetime import datetime
from pathlib import Path

from database import Database
from engine.errors import StorageError
from tests.support.schedules import scheduler_of

POLL_INTERVAL_SECONDS = 0.005


def write_text(path: Path, text: str) -> None:
    """Replace the content of a file at once, so that no process reads a part of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _time() -> str:
    return Path(os.environ["CLOCK_FILE"]).read_text(encoding="utf-8")


async def run() -> None:
    """Run until the process is killed."""
    idle_file = Path(os.environ["IDLE_FILE"])
    database = Database(os.environ["DATABASE_URL"], lambda: datetime.fromisoformat(_time()))
    scheduler = scheduler_of(database)
    handled, is_searched = "", False
    while True:
        now = _time()
        if now == handled:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            continue
        try:
            if not is_searched:
                await scheduler.search()
                is_searched = True
            # ``fire_due`` also returns false if the other process was faster with a whole batch.
            while await scheduler.fire_due() or await database.firings.due(1):
                pass
        except StorageError:  # the service tries again at the next interval
            continue
        handled = now
        write_text(idle_file, handled)


def main() -> None:
    """Run a scheduler."""
    asyncio.run(run())
