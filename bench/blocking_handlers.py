"""Blocking handlers: the delay of nodes of other executions while handlers block their threads.

    python -m bench.blocking_handlers [--processes N]

Ten handlers sleep for five seconds, or compute for five seconds, in their threads. Meanwhile, other
executions of ten trivial nodes run one after another. The delay of a node is the time from the end
of the node before it to its own start. The first line, without blocking handlers, is the reference
for the others, because the load of the machine changes all of them.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.client import Client
from bench.service import WORKFLOW, running_service

KINDS = ("none", "sleeping", "computing")
BLOCKING = 10
BLOCKED_SECONDS = 5.0
CONCURRENCY = 32


def measure(client: Client, kind: str) -> list[float]:
    """Return the delays of the nodes of other executions, in milliseconds."""
    if kind != "none":
        config = {"seconds": BLOCKED_SECONDS}
        node = {"id": "n", "type": kind, "label": "n", "config": config}
        client.save(kind, {"nodes": [node], "connections": []})
        for _ in range(BLOCKING):
            client.submit(kind)
    delays: list[float] = []
    until = time.monotonic() + 0.8 * BLOCKED_SECONDS
    while time.monotonic() < until:
        ended = client.submit(WORKFLOW, headers={"Prefer": "wait=60"}).body
        path = f"/api/executions/{ended['executionId']}/logs"
        delays += _delays(client.get(path).body["logs"])
    return delays


def _delays(logs: list[dict[str, Any]]) -> Iterator[float]:
    for before, after in pairwise(logs):
        started = [datetime.fromisoformat(log["startedAt"]) for log in (before, after)]
        yield (started[1] - started[0]).total_seconds() * 1_000 - before["duration"]


def main() -> None:
    """Print one line for each kind of handler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=0)
    options = parser.parse_args()
    settings = {
        "EXECUTOR_PROCESSES": str(options.processes),
        "NODE_TYPE_MODULES": "bench.blocking_nodes",
    }
    print("handlers | delay p50, ms | p99, ms | maximum, ms | nodes | load")
    for kind in KINDS:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
            running_service(Path(directory), CONCURRENCY, settings) as service,
            closing(Client(service.port)) as client,
        ):
            client.submit(WORKFLOW, headers={"Prefer": "wait=60"})
            delays = measure(client, kind)
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
            delays.sort()
            print(
                f"{kind} | {statistics.median(delays):.1f} |"
                f" {delays[len(delays) * 99 // 100]:.1f} | {delays[-1]:.1f} |"
                f" {len(delays)} | {load:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
