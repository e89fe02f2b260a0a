"""Growth: memory and processor time of large values, of many nodes and of many executions.

    python -m bench.growth [--executions 5000] [--only value,nodes,executions]

Prints the memory of the service above that of the idle service, and the processor time for each
node, of which only the ratios of one run mean something. Needs Linux.
"""

import argparse
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.client import BenchError, Client
from bench.load import throughput
from bench.processes import resident_mb
from bench.service import WORKFLOW, Service, running_service

VALUE_BYTES = 10_000_000
VALUE_NODES = 10
LINES = (10, 100, 1_000, 5_000)
PARALLEL = 1_000
MIN_NODES = 2_000
"""Number of nodes in the executions of one measurement, at least."""
CONCURRENCY = 10
PARTS = 5
SETTINGS = {"MAX_WORKFLOW_NODES": "6000"}


def line(count: int) -> dict[str, Any]:
    """Return a chain of nodes that pass on the same value."""
    nodes = [_node("start", "trigger"), *(_adding(i) for i in range(count - 1))]
    ids = [node["id"] for node in nodes]
    return {"nodes": nodes, "connections": [_connection(a, b) for a, b in pairwise(ids)]}


def parallel(count: int) -> dict[str, Any]:
    """Return a node with ``count`` nodes after it."""
    nodes = [_adding(i) for i in range(count)]
    connections = [_connection("start", node["id"]) for node in nodes]
    return {"nodes": [_node("start", "trigger"), *nodes], "connections": connections}


def _adding(number: int) -> dict[str, Any]:
    return _node(f"n{number}", "addField", {"addFieldName": "same", "addFieldValue": 1})


def _node(node_id: str, node_type: str, config: dict[str, object] | None = None) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "label": node_id, "config": config or {}}


def _connection(source: str, target: str) -> dict[str, str]:
    return {"id": f"{source}-{target}", "fromNodeId": source, "toNodeId": target}


@contextmanager
def _service(document: object) -> Generator[tuple[Service, Client]]:
    """Run a service that has executed the ten-node line once, with ``document`` as its workflow."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        running_service(Path(name), CONCURRENCY, SETTINGS, document=document) as service,
        closing(Client(service.port)) as client,
    ):
        client.save("warm", line(VALUE_NODES))
        for _ in range(3):
            _run(client, "warm")
        yield service, client


def _run(client: Client, workflow: str, inputs: object = None) -> None:
    state = client.submit(workflow, inputs, headers={"Prefer": "wait=120"}).body
    while state["status"] in {"pending", "running"}:
        time.sleep(0.2)
        state = client.poll(state["executionId"]).body
    if state["status"] != "completed":
        raise BenchError(f"an execution ended as '{state['status']}': {state.get('error')}")


def measure_value() -> None:
    """Print the memory that a large value needs."""
    inputs = {"value": _text(VALUE_BYTES)}
    with _service(line(VALUE_NODES)) as (service, client):
        client.close()  # the service closes unused connections
        idle = resident_mb(service.pid) or 0.0
        _reset_peak(service)
        _run(client, WORKFLOW, inputs)
        peak, after = service.peak_memory_mb() or 0.0, resident_mb(service.pid) or 0.0
        print(
            f"value of {VALUE_BYTES / 1e6:.0f} MB through {VALUE_NODES} nodes:"
            f" idle {idle:.0f} MB, at most +{peak - idle:.0f} MB,"
            f" afterwards +{after - idle:.0f} MB",
            flush=True,
        )


def _text(size: int) -> str:
    words = [f"{number:x}" for number in range(size // 6)]
    return " ".join(words)[:size]


def _reset_peak(service: Service) -> None:
    Path(f"/proc/{service.pid}/clear_refs").write_text("5", encoding="ascii")


def measure_nodes() -> None:
    """Print the processor time for each node, and the memory, of lines and of parallel nodes."""
    first = None
    for name, document, count in (
        *((f"line of {count}", line(count), count) for count in LINES),
        (f"{PARALLEL} in parallel", parallel(PARALLEL), PARALLEL + 1),
    ):
        with _service(document) as (service, client):
            idle = resident_mb(service.pid) or 0.0
            executions = max(1, MIN_NODES // count)
            _run(client, WORKFLOW)
            _reset_peak(service)
            before = service.cpu_seconds() or 0.0
            for _ in range(executions):
                _run(client, WORKFLOW)
            spent = ((service.cpu_seconds() or 0.0) - before) * 1_000 / executions / count
            first = first or spent
            peak = (service.peak_memory_mb() or 0.0) - idle
            print(
                f"{name}: {spent:.2f} ms for a node, ratio {spent / first:.2f}, +{peak:.0f} MB",
                flush=True,
            )


def measure_executions(count: int) -> None:
    """Print the memory after each part of many tiny executions."""
    with _service(line(2)) as (service, _):
        for part in range(1, PARTS + 1):
            throughput(service, count // PARTS, clients=4)
            memory = resident_mb(service.pid) or 0.0
            print(f"{part * count // PARTS} executions: {memory:.1f} MB", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--executions", type=int, default=5_000, help="(%(default)s)")
    parser.add_argument("--only", default="value,nodes,executions")
    options = parser.parse_args(arguments)
    only = options.only.split(",")
    if "value" in only:
        measure_value()
    if "nodes" in only:
        measure_nodes()
    if "executions" in only:
        measure_executions(options.executions)


if __name__ == "__main__":
    main()
