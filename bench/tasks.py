"""Tasks: the time of a request for the list of tasks among 10,000 open ones.

``python -m bench.tasks`` fills a database, starts the service, and prints the 50th and the 99th
percentile of each kind of list, in milliseconds. The figures are only valid on an idle machine; the
processor time of the service for a request (Linux) depends less on other programs.
"""

import asyncio
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import perf_counter

from bench.client import Client
from bench.service import running_service
from database import Database, ExampleWorkflow
from tests.support.open_tasks import fill_tasks

TASKS = 10_000
REQUESTS = 500
PAGE = 50
"""Default size of a page."""
MAX_P99_MS = 20.0
LISTS = {
    "open tasks": "/api/tasks?status=open",
    "open tasks of an assignee": "/api/tasks?status=open&assignee=person1@example.com",
    "tasks with any status": "/api/tasks",
}


async def _fill(path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{path}")
    try:
        await database.prepare([ExampleWorkflow("w", "A workflow", "{}")])
        await fill_tasks(database, TASKS)
    finally:
        await database.close()


def main() -> int:
    """Print the percentiles of each list; return 1 if a 99th percentile is above 20 ms."""
    slow = False
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(_fill(directory / "bench.sqlite"))
        with running_service(directory, 4) as service, closing(Client(service.port)) as client:
            for title, path in LISTS.items():
                times: list[float] = []
                before = service.cpu_seconds() or 0.0
                for _ in range(REQUESTS):
                    started = perf_counter()
                    assert len(client.get(path).body["tasks"]) == PAGE
                    times.append((perf_counter() - started) * 1_000)
                cpu = ((service.cpu_seconds() or 0.0) - before) * 1_000 / REQUESTS
                times.sort()
                median, last = times[REQUESTS // 2], times[REQUESTS * 99 // 100]
                slow = slow or last > MAX_P99_MS
                print(f"{title}: p50 {median:.1f} ms, p99 {last:.1f} ms, processor {cpu:.1f} ms")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
