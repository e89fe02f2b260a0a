"""Node types for execution processes, which load this module as ``NODE_TYPE_MODULES``.

``once`` is the path of a file: the handler creates it and does harm, and if it exists, the handler
succeeds.
"""

import ctypes
import os
import time
from pathlib import Path
from typing import Any

from tasks.sdk import report_progress, send_delta, task

HANG_SECONDS = 600


def is_first_run(node: dict[str, Any]) -> bool:
    """Return whether the file of a node did not exist, and create it."""
    try:
        Path(node["config"]["once"]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@task(name="process-id")
async def handle_process_id(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Return the id of the process."""
    return {"outputData": os.getpid()}


@task(name="exits")
async def handle_exits(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """End the process."""
    if is_first_run(node):
        os._exit(3)
    return {"outputData": os.getpid()}


@task(name="hangs")
async def handle_hangs(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Keep the interpreter lock, so that no thread of the process runs any more."""
    if is_first_run(node):
        ctypes.PyDLL(None).sleep(HANG_SECONDS)
    return {"outputData": os.getpid()}


@task(name="sleeps")
def handle_sleeps(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Sleep without the event loop."""
    time.sleep(node["config"]["seconds"])
    return {"outputData": os.getpid()}


@task(name="writes")
async def handle_writes(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Print to standard output, report progress, and publish the output in parts."""
    print("output of a handler")
    report_progress(40, "two of five")
    send_delta("Hel")
    send_delta("lo")
    return {"outputData": "Hello"}


NODE_HANDLERS = {
    "processId": handle_process_id,
    "exits": handle_exits,
    "hangs": handle_hangs,
    "sleeps": handle_sleeps,
    "writes": handle_writes,
}
