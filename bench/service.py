"""Service process: starts it on its own database, and measures its processor time and memory."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.client import BenchError, Client
from bench.processes import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0
WORKFLOW = "bench-line"
NODES = 10


@dataclass(frozen=True, slots=True)
class Service:
    """Running service process."""

    port: int
    pid: int
    database: Path
    started_in: float
    """Seconds from the start of its process until ``GET /`` responded."""

    def completed_at(self) -> list[str]:
        """Return the end of each completed execution, in order, as stored in the database."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            rows = connection.execute(
                "SELECT completedAt FROM workflow_executions WHERE status = 'completed' ORDER BY 1"
            )
            return [text for (text,) in rows]

    def unfinished(self) -> int:
        """Return the number of unfinished executions."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            count = "SELECT count(*) FROM workflow_executions WHERE completedAt IS NULL"
            return connection.execute(count).fetchone()[0]

    def cpu_seconds(self) -> float | None:
        """Return the processor time of its process so far; ``None`` except on Linux."""
        return cpu_seconds(self.pid)

    def peak_memory_mb(self) -> float | None:
        """Return its peak memory, in MB; ``None`` except on Linux."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1024


@contextmanager
def running_service(
    directory: Path,
    concurrency: int,
    settings: Mapping[str, str] | None = None,
    root: Path = ROOT,
    document: object = None,
) -> Generator[Service]:
    """Run the service with one workflow during the block, unless the database contains it.

    It is ``document``, or a chain of ten nodes.

    ``settings`` are environment variables for it, besides those that every benchmark sets.
    ``root`` is the checkout that runs.

    Raises:
        BenchError: it does not start; quotes the end of its log.
    """
    port = free_port()
    database = directory / "bench.sqlite"
    command = [sys.executable, str(root / "start_service.py")]
    environment = _environment(database, port, concurrency) | dict(settings or {})
    log = directory / "service.log"
    with running_process(command, port, root, log, environment) as (process, started_in):
        with closing(Client(port)) as client:
            if not client.has(WORKFLOW):
                client.save(WORKFLOW, line() if document is None else document)
        yield Service(port, process.pid, database, started_in)


def free_port() -> int:
    """Return a port of the loopback interface on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextmanager
def running_process(
    command: Sequence[str],
    port: int,
    directory: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Generator[tuple["subprocess.Popen[bytes]", float]]:
    """Start a service in ``directory``, and stop it after the block.

    Yields:
        The process, and the seconds from its start until it responded on ``port``.

    Raises:
        BenchError: If it does not start; quotes the end of its ``log``.
    """
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_up(port, process, log)
        yield process, time.perf_counter() - begun
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(database: Path, port: int, concurrency: int) -> dict[str, str]:
    return os.environ | {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "API_KEYS": "",
        "API_KEYS_FILE": "",
        "DATABASE_PATH": str(database),
        "DATABASE_URL": "",
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(database.parent / "prefect"),
        "MAX_CONCURRENT_EXECUTIONS": str(concurrency),
        "LOG_LEVEL": "WARNING",
    }


def _wait_until_up(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with closing(Client(port)) as client:
        while not client.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                raise BenchError(f"the service does not start:\n{end}")
            time.sleep(0.02)


def save_workflow(database: Path, workflow_id: str, document: object) -> None:
    """Insert the workflow into the table, as the main project does."""
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        connection.execute(
            "INSERT INTO workflows(id, name, data) VALUES (?, ?, ?)",
            (workflow_id, workflow_id, json.dumps(document)),
        )


def line() -> dict[str, Any]:
    """Return a chain of a trigger, ``addField`` nodes and an output."""
    adding = [
        _node(f"n{i}", "addField", {"addFieldName": f"f{i}", "addFieldValue": i})
        for i in range(NODES - 2)
    ]
    nodes = [_node("start", "trigger", {}), *adding, _node("end", "output", {})]
    ids = [node["id"] for node in nodes]
    connections = [{"id": f"{a}-{b}", "fromNodeId": a, "toNodeId": b} for a, b in pairwise(ids)]
    return {"nodes": nodes, "connections": connections}


def _node(node_id: str, node_type: str, config: dict[str, object]) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "label": node_id, "config": config}
