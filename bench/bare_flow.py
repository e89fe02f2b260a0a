"""Comparison script: runs flows of ten trivial tasks on plain Prefect.

Prefect starts its own server, because none is configured. The script prints one JSON line when the
first flow has ended (``ready``), and one for the end of each flow.
"""

import asyncio
import json
import sys
import time

from prefect import flow, task

TASKS = 10


@task
async def add_one(value: int) -> int:
    """Return the next number."""
    return value + 1


@flow
async def ten_tasks() -> int:
    """Run ten tasks, one after another."""
    value = 0
    for _ in range(TASKS):
        value = await add_one(value)
    return value


def report(**event: object) -> None:
    """Print one JSON line without delay, because the parent may end this process at any time."""
    print(json.dumps({"at": time.monotonic(), **event}), flush=True)


async def run(flows: int, concurrency: int) -> None:
    """Run the flows, at most ``concurrency`` at the same time."""
    slots = asyncio.Semaphore(concurrency)

    async def one() -> None:
        async with slots:
            try:
                result = await ten_tasks()
            except Exception as error:  # noqa: BLE001 - counted
                report(event="ended", completed=False, error=repr(error)[:200])
            else:
                report(event="ended", completed=result == TASKS)

    await ten_tasks()  # starts the server
    report(event="ready")
    await asyncio.gather(*(one() for _ in range(flows)))


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
