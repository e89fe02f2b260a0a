"""Scaling: executions that wait for I/O, with 1, 2 and 4 services on one PostgreSQL database.

    python -m bench.scaling [--counts 1,2,4] [--executions 60] [--json FILE] [--plot FILE]

Each execution calls a local server three times, which responds after 100 ms. A service runs four
executions at a time, which wait most of the time. A run takes less than five minutes.
Only the ratios of one run mean something; the processor times and the transactions of an execution
depend less on the load of the machine, which is printed. PostgreSQL must run on this machine.
"""

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from bench.client import Client
from bench.contenders import new_database
from bench.processes import cpu_seconds
from bench.service import ROOT, WORKFLOW, Service, running_service

POSTGRES = os.environ.get("BENCH_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
SLOTS = 4
CALLS = 3
CALL_SECONDS = 0.1
MAX_SECONDS = 80.0
"""Timeout for the executions of one measurement, in seconds."""
WARM_UP = 8
"""Executions before the measurement, so that each service has imported and connected everything."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one number of services."""

    services: int
    per_second: float
    service_cpu_ms: float
    """Processor time of the services for an execution, its submission included."""
    database_cpu_ms: float
    """Processor time of PostgreSQL's processes for an execution."""
    transactions: float
    """Committed transactions for an execution."""
    cores: float
    """Processor time of services and PostgreSQL for each second of the measurement."""
    load: float
    """Load of the machine before the measurement."""


class _Server(BaseHTTPRequestHandler):
    """Responds after ``CALL_SECONDS``."""

    def do_GET(self) -> None:
        """Wait, and respond with an object."""
        time.sleep(CALL_SECONDS)
        body = b'{"ok": true}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


@contextmanager
def serving() -> Generator[str]:
    """Run the server that executions call; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def document(url: str) -> dict[str, Any]:
    """Return a chain of a trigger, calls and an output."""
    nodes: list[dict[str, Any]] = [
        {"id": "start", "type": "trigger", "label": "start", "config": {}},
        *(
            {"id": f"call{i}", "type": "http", "label": f"call {i}", "config": {"httpUrl": url}}
            for i in range(CALLS)
        ),
        {"id": "end", "type": "output", "label": "end", "config": {}},
    ]
    ids = [node["id"] for node in nodes]
    connections = [{"id": f"{a}-{b}", "fromNodeId": a, "toNodeId": b} for a, b in pairwise(ids)]
    return {"nodes": nodes, "connections": connections}


def measure_all(counts: Sequence[int], executions: int) -> Generator[Figures]:
    """Yield the figures of each number of services, in ascending order, on one new database."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(temporary))
        url = stack.enter_context(new_database(POSTGRES)) or POSTGRES
        target = stack.enter_context(serving())
        settings = {
            "DATABASE_URL": url.replace("postgresql://", "postgresql+asyncpg://"),
            "HTTP_ALLOW_PRIVATE_NETWORKS": "true",
        }
        drawn = document(target)
        services: list[Service] = []
        for count in counts:
            load = os.getloadavg()[0]
            while len(services) < count:
                place = directory / str(len(services))
                place.mkdir()
                services.append(
                    stack.enter_context(running_service(place, SLOTS, settings, document=drawn))
                )
            with closing(Client(services[0].port)) as client:
                yield _measure(client, services, url, executions, load)


def _measure(
    client: Client, services: Sequence[Service], url: str, executions: int, load: float
) -> Figures:
    _run(client, url, WARM_UP * len(services))
    before = _used(services, url)
    seconds = _run(client, url, executions)
    after = _used(services, url)
    service, database, transactions = (b - a for a, b in zip(before, after, strict=True))
    return Figures(
        len(services),
        round(executions / seconds, 2),
        round(service * 1_000 / executions, 1),
        round(database * 1_000 / executions, 1),
        round(transactions / executions, 1),
        round((service + database) / seconds, 2),
        round(load, 1),
    )


def _run(client: Client, url: str, executions: int) -> float:
    """Submit executions and wait for their end; return the seconds from the first start."""
    client.close()  # it connects again, because the service closes unused connections
    ids = [client.submit(WORKFLOW).body["executionId"] for _ in range(executions)]
    query = (
        'SELECT min("startedAt") AS first, max("completedAt") AS last,'
        ' count("completedAt") AS ended'
        " FROM workflow_executions WHERE id = ANY($1)"
    )
    deadline = time.monotonic() + MAX_SECONDS
    while (row := asyncio.run(_fetch(url, query, ids)))["ended"] < executions:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{row['ended']} of {executions} executions ended")
        time.sleep(0.2)
    first, last = (datetime.fromisoformat(row[name]) for name in ("first", "last"))
    return (last - first).total_seconds()


def _used(services: Sequence[Service], url: str) -> tuple[float, float, float]:
    """Return the processor time of the services and of PostgreSQL, and the transactions."""
    query = (
        "SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS n,"
        " (SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()) AS pids"
    )
    row = asyncio.run(_fetch(url, query))
    return (
        sum(cpu_seconds(service.pid) or 0.0 for service in services),
        sum(cpu_seconds(pid) or 0.0 for pid in row["pids"]),
        float(row["n"]),
    )


async def _fetch(url: str, query: str, *values: object) -> Any:
    connection = await cast("Any", asyncpg).connect(url)
    try:
        return await connection.fetchrow(query, *values)
    finally:
        await connection.close()


def main() -> None:
    """Print the figures of each number of services, and the ratios to the first one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1,2,4", help="numbers of services")
    parser.add_argument("--executions", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the model with .venv-bench")
    options = parser.parse_args()
    found: list[Figures] = []
    counts = sorted(map(int, options.counts.split(",")))
    for figures in measure_all(counts, options.executions):
        found.append(figures)
        ratio = found[-1].per_second / found[0].per_second
        print(json.dumps(asdict(found[-1])), f"ratio {ratio:.2f}", flush=True)
    report = {"measured": [asdict(one) for one in found]}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot and options.json:
        python = ROOT / ".venv-bench" / "bin" / "python"
        script = ROOT / "bench" / "scaling_plot.py"
        subprocess.run([python, script, options.json, options.plot], check=True)


if __name__ == "__main__":
    main()
