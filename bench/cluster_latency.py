"""Cluster latency: times from a submission to its first node, and from an event to its clients.

    python -m bench.cluster_latency [--executions 40] [--stock 3] [--json FILE]

One run measures two services that share a PostgreSQL database, and a work pool with two workers. It
alternates between both, so that the ratio does not depend on the load of the machine, which is
printed. ``--stock`` then measures Prefect's process worker in place of ours.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.client import BenchError, Client
from bench.contenders import new_database
from bench.scaling import POSTGRES
from bench.service import WORKFLOW, line, running_service
from scripts.cluster.processes import POOL, Cluster, ClusterError, running_cluster

WARM_UP = 3
"""Executions before the measurement, so that each process has imported and connected everything."""
MAX_SECONDS = 120.0
"""Timeout for one execution, in seconds."""
PAUSE_SECONDS = 0.05
"""Pause between two polls of a running execution, in seconds."""
SLOTS = 10


def main() -> int:
    """Print the figures; return 0, or 1 if the measurement failed."""
    options = _parser().parse_args()
    try:
        figures = asyncio.run(_measure(options.executions, options.stock))
    except (BenchError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"{name:32}{value:>10}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Latency of two services and of a work pool.")
    parser.add_argument("--executions", type=int, default=40, help="number for each")
    parser.add_argument("--stock", type=int, default=0, help="executions with Prefect's own worker")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


async def _measure(executions: int, stock: int) -> dict[str, float]:
    load = round(os.getloadavg()[0], 2)
    async with running_cluster(POSTGRES, 2) as cluster:
        for name in cluster.workers:
            await _wait_for_worker(cluster, name)
        figures = await asyncio.to_thread(_compare, cluster, executions)
        if stock:
            figures |= await _measure_stock(cluster, stock)
    return {"load": load, **figures}


async def _wait_for_worker(cluster: Cluster, name: str) -> None:
    async with asyncio.timeout(MAX_SECONDS):
        while '"pool_worker_changed"' not in cluster.log_of(name).read_text(encoding="utf-8"):
            cluster.require_alive(name)
            await asyncio.sleep(PAUSE_SECONDS)


def _compare(cluster: Cluster, executions: int) -> dict[str, float]:
    embedded: list[float] = []
    pool: list[float] = []
    with ExitStack() as stack:
        first, second = stack.enter_context(_two_services())
        pool_client = stack.enter_context(closing(Client(_port_of(cluster))))
        pool_client.save(WORKFLOW, line())
        with _received_events(second) as events:
            client = stack.enter_context(closing(Client(first)))
            for number in range(WARM_UP + executions):
                if number == WARM_UP:
                    for measured in (embedded, pool, events):
                        measured.clear()
                embedded.append(_seconds_to_first_node(client))
                pool.append(_seconds_to_first_node(pool_client))
            delays = list(events)
    return {
        **_summary("embedded", embedded),
        **_summary("workpool", pool),
        "workpoolRatioP50": round(statistics.median(pool) / statistics.median(embedded), 1),
        **_summary("otherServiceEvents", delays),
    }


@contextmanager
def _two_services() -> Generator[tuple[int, int]]:
    """Run two services on a PostgreSQL database; yield their ports."""
    with ExitStack() as stack:
        database = stack.enter_context(new_database(POSTGRES))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workflow-bench-")))
        ports: list[int] = []
        for name in ("first", "second"):
            place = directory / name
            place.mkdir()
            settings = {
                "DATABASE_URL": str(database),
                "DATA_ENCRYPTION_KEY": "a key of a benchmark",
                "PREFECT_HOME": str(place / "prefect"),
            }
            service = stack.enter_context(running_service(place, SLOTS, settings))
            ports.append(service.port)
        yield ports[0], ports[1]


def _seconds_to_first_node(client: Client) -> float:
    """Submit an execution, wait for its end, and return the time until its first node started."""
    submitted = datetime.now(UTC)
    execution_id = client.submit(WORKFLOW).body["executionId"]
    deadline = time.monotonic() + MAX_SECONDS
    while client.poll(execution_id).body["status"] != "completed":
        if time.monotonic() > deadline:
            raise BenchError(f"the execution {execution_id} did not complete in time")
        time.sleep(PAUSE_SECONDS)
    logs = client.get(f"/api/executions/{execution_id}/logs").body["logs"]
    started = min(datetime.fromisoformat(log["startedAt"]) for log in logs)
    return (started - submitted).total_seconds()


@contextmanager
def _received_events(port: int) -> Generator[list[float]]:
    """Yield the delays of the events that a client of one service receives, in seconds.

    Most executions run in the other service. A delay begins before the commit of the event.
    """
    delays: list[float] = []
    connection = HTTPConnection("127.0.0.1", port, timeout=MAX_SECONDS)
    connection.request("GET", "/api/events")
    response = connection.getresponse()

    def receive() -> None:
        with suppress(OSError, HTTPException):  # the service stops
            while text := response.readline():
                if text.startswith(b"data: "):
                    now, event = datetime.now(UTC), json.loads(text[6:])
                    delay = now - datetime.fromisoformat(event["timestamp"])
                    delays.append(delay.total_seconds())

    threading.Thread(target=receive, daemon=True).start()
    yield delays


async def _measure_stock(cluster: Cluster, executions: int) -> dict[str, float]:
    for name in cluster.workers:
        cluster.kill(name)
    command = ("-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL)
    cluster.start("stock", command, **cluster.settings, PREFECT_WORKER_QUERY_SECONDS="1")

    def measure() -> list[float]:
        with closing(Client(_port_of(cluster))) as client:
            return [_seconds_to_first_node(client) for _ in range(executions + 1)][1:]

    return _summary("stockWorker", await asyncio.to_thread(measure))


def _port_of(cluster: Cluster) -> int:
    return int(cluster.service_url.rpartition(":")[2])


def _summary(name: str, seconds: Sequence[float]) -> dict[str, float]:
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return {
        f"{name}MsP50": round(statistics.median(seconds) * 1_000, 1),
        f"{name}MsP95": round(p95 * 1_000, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
