"""The comparison, as a script of its own: what Prefect does out of the box.

A flow of ten trivial tasks, one after another, as the tutorial writes it, on the server that
Prefect starts by itself when it is given none. Says on standard output, a JSON line each, when
the first flow had run (``ready``), and of each flow that ended when and how.
"""

import asyncio
import json
import sys
import time

from prefect import flow, task

TASKS = 10


@task
async def add_one(value: int) -> int:
    """Next to nothing."""
    return value + 1


@flow
async def ten_tasks() -> int:
    """A line of ten."""
    value = 0
    for _ in range(TASKS):
        value = await add_one(value)
    return value


def say(**event: object) -> None:
    """One JSON line, at once: whoever listens may end this process at any time."""
    print(json.dumps({"at": time.monotonic(), **event}), flush=True)


async def run(flows: int, concurrency: int) -> None:
    """Runs them, at most ``concurrency`` at once."""
    places = asyncio.Semaphore(concurrency)

    async def one() -> None:
        async with places:
            try:
                result = await ten_tasks()
            except Exception as error:  # noqa: BLE001 - counted
                say(event="ended", completed=False, error=repr(error)[:200])
            else:
                say(event="ended", completed=result == TASKS)

    await ten_tasks()  # starts the server
    say(event="ready")
    await asyncio.gather(*(one() for _ in range(flows)))


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2])))
