"""Blocking node types: handlers that occupy their thread, for ``bench.blocking_handlers``."""

import time
from typing import Any

from tasks.sdk import task


@task(name="sleeping")
def handle_sleeping(node: dict[str, Any], _input_data: object) -> dict[str, Any]:
    """Sleep for ``seconds``."""
    time.sleep(node["config"]["seconds"])
    return {"outputData": None}


@task(name="computing")
def handle_computing(node: dict[str, Any], _input_data: object) -> dict[str, Any]:
    """Compute in Python for ``seconds``."""
    until, count = time.monotonic() + node["config"]["seconds"], 0
    while time.monotonic() < until:
        count += 1
    return {"outputData": count}


NODE_HANDLERS = {"sleeping": handle_sleeping, "computing": handle_computing}
