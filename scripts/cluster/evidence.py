"""Cluster evidence: submits executions, kills one worker, and counts the results."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from scripts.cluster.processes import (
    HOST,
    POLL_SECONDS,
    Cluster,
    ClusterError,
    open_database,
)

RESPONSE_SECONDS = 0.3
"""Duration of each call of a node, in seconds, so that nodes are in flight at the kill."""
NODES = ("first", "second", "third")
MAX_SECONDS_PER_EXECUTION = 10.0
"""Timeout for all executions together, in seconds for each."""
CONCURRENT_SUBMISSIONS = 8
_ENDS = """
    SELECT "executionId", count(*) FROM orchestrator_events
    WHERE "nodeId" IS NULL AND status = 'completed' GROUP BY 1
"""
_NODE_ENDS = """
    SELECT "executionId", "nodeId", count(*) FROM orchestrator_events
    WHERE "nodeStatus" = 'completed' GROUP BY 1, 2
"""
_STATUSES = "SELECT status, count(*) FROM workflow_executions GROUP BY 1"
_SUBMITTED_AGAIN = 'SELECT count(*) FROM orchestrator_runs WHERE "dispatchAttempt" > 1'


@dataclass(frozen=True, slots=True)
class Evidence:
    """The counted results."""

    submitted: int
    completed: int
    completed_twice: int
    nodes_completed_twice: int
    submitted_again: int
    """Number of executions with several flow runs: because of the killed worker, or because no
    worker used the first one in time."""
    repeated_calls: int
    """Number of calls of interrupted nodes that another worker repeated."""

    @property
    def is_good(self) -> bool:
        """Whether each execution and each node completed exactly once."""
        twice = self.completed_twice or self.nodes_completed_twice
        return self.completed == self.submitted and not twice


async def collect_evidence(cluster: Cluster, executions: int) -> Evidence:
    """Run ``executions`` executions, and kill one worker after the first half of them.

    Raises:
        ClusterError: If a process ends, or the executions do not end in time.
    """
    database = open_database(cluster.database_url)
    try:
        async with (
            _counting_server() as (address, calls),
            httpx.AsyncClient(base_url=cluster.service_url, trust_env=False, timeout=60) as client,
        ):
            await _submit(client, address, executions)
            print(f"{executions} executions submitted")
            await _wait_for_completed(cluster, database, executions // 2, executions)
            victim = max(cluster.workers, key=cluster.running_executions)
            count = cluster.running_executions(victim)
            print(f"killing {victim} with -9, which runs {count} executions")
            cluster.kill(victim)
            await _wait_for_completed(cluster, database, executions, executions)
            return await _count(database, executions, calls)
    finally:
        await database.dispose()


async def _submit(client: httpx.AsyncClient, address: str, executions: int) -> None:
    slots = asyncio.Semaphore(CONCURRENT_SUBMISSIONS)

    async def submit(number: int) -> None:
        async with slots:
            body = {"graph": _document(address, number), "workflowName": f"Evidence {number}"}
            response = await client.post("/api/workflows/execute", json=body)
            response.raise_for_status()

    await asyncio.gather(*map(submit, range(executions)))


def _document(address: str, number: int) -> dict[str, Any]:
    nodes = [
        {
            "id": name,
            "type": "http",
            "label": name,
            "config": {"httpUrl": f"{address}/{number}/{name}"},
        }
        for name in NODES
    ]
    connections = [
        {"id": f"c{index}", "fromNodeId": source, "toNodeId": target}
        for index, (source, target) in enumerate(pairwise(NODES))
    ]
    return {"nodes": nodes, "connections": connections}


async def _wait_for_completed(
    cluster: Cluster, database: AsyncEngine, wanted: int, executions: int
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + MAX_SECONDS_PER_EXECUTION * executions
    statuses: dict[str, int] = {}
    while loop.time() < deadline:
        statuses = {row[0]: row[1] for row in await _rows(database, _STATUSES)}
        if statuses.get("completed", 0) >= wanted:
            return
        for name in ("service", "prefect-server", *cluster.workers):
            cluster.require_alive(name)
        await asyncio.sleep(POLL_SECONDS)
    raise ClusterError(f"the executions did not end in time: {statuses}")


async def _rows(database: AsyncEngine, query: str) -> list[tuple[Any, ...]]:
    async with database.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def _count(database: AsyncEngine, executions: int, calls: Counter[str]) -> Evidence:
    ends = [row[1] for row in await _rows(database, _ENDS)]
    nodes = [row[2] for row in await _rows(database, _NODE_ENDS)]
    return Evidence(
        submitted=executions,
        completed=len(ends),
        completed_twice=sum(count > 1 for count in ends),
        nodes_completed_twice=sum(count > 1 for count in nodes),
        submitted_again=(await _rows(database, _SUBMITTED_AGAIN))[0][0],
        repeated_calls=sum(count - 1 for count in calls.values()),
    )


@asynccontextmanager
async def _counting_server() -> AsyncGenerator[tuple[str, Counter[str]]]:
    """Run an HTTP server that counts its requests by path."""
    calls: Counter[str] = Counter()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            calls[head.split(b" ", 2)[1].decode()] += 1
            await asyncio.sleep(RESPONSE_SECONDS)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the worker was killed
        finally:
            writer.close()

    server = await asyncio.start_server(respond, HOST, 0)
    async with server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}", calls
