"""Floor: processor time of Prefect's own engines for a flow of ten empty tasks, embedded as here.

``python -m bench.floor`` prints it in milliseconds per flow. No execution can cost less while it
runs on Prefect's engines, so other figures are compared with it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from flows.prefect_adapter.environment import prepare_prefect

FLOWS = 200
CONCURRENCY = 10
TASKS = 10
WARM_UP = 20


def main() -> int:
    """Print the processor time of one flow; return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("--flows", type=int, default=FLOWS, help="number (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workflow-floor-") as name:
        print(f"{floor_ms(options.flows, Path(name)):.2f} ms")
    return 0


def floor_ms(flows: int, home: Path) -> float:
    """Return the processor time of one flow in this process, in milliseconds, all threads."""
    prepare_prefect(None, home)
    return asyncio.run(_measure(flows, home))


async def _measure(flows: int, home: Path) -> float:
    from prefect import flow, task  # noqa: PLC0415 - after its settings are written
    from prefect.flow_engine import run_flow_async  # noqa: PLC0415

    from flows.prefect_adapter.runs import (  # noqa: PLC0415 - imports Prefect
        local_result_storage,
        prefect_context,
    )

    @task(persist_result=False)
    async def empty() -> None:
        pass

    @flow(name="ten-empty-tasks", validate_parameters=False, persist_result=False)
    async def ten_empty_tasks(execution_id: str) -> None:  # noqa: ARG001 - an execution has it too
        for _ in range(TASKS):
            await empty()

    local_result_storage(ten_empty_tasks, home)
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int) -> None:
        parameters = {"execution_id": str(number)}
        async with slots:
            flow_run = await client.create_flow_run(ten_empty_tasks, parameters=parameters)
            await run_flow_async(ten_empty_tasks, flow_run=flow_run, parameters=parameters)

    async with prefect_context(None) as client:
        await asyncio.gather(*(one(number) for number in range(WARM_UP)))
        begun = time.process_time()
        await asyncio.gather(*(one(number) for number in range(flows)))
        return (time.process_time() - begun) * 1000 / flows


if __name__ == "__main__":
    sys.exit(main())
