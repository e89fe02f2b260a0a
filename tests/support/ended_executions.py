"""Ended executions: fills a database with any number of executions or ended nodes."""

import json
from typing import Any

from sqlalchemy import Connection, Table, text

from database import Database
from database.tables import (
    callbacks,
    children,
    chunks,
    definitions,
    events,
    executions,
    idempotency_keys,
    logs,
    payload_parts,
    payload_uses,
    payloads,
    requests,
    runs,
    workflows,
)

RARE = 10
"""Number of executions of the workflow `rare`, of the organization `few`, and with `failed`."""


async def fill(database: Database, count: int) -> None:
    """Store ``count`` executions and workflows. The rare executions are the oldest ones.

    They ended in the last hours before the start of ``MovingClock``.
    """
    by_table: dict[Table, list[dict[str, Any]]] = {definitions: [], workflows: []}
    by_table[definitions].append({"hash": "h", "document": "{}", "createdAt": "2025"})
    by_table[workflows].append(_workflow("rare", "few", 0))
    for number in range(count):
        for table, row in _rows(number, number - count).items():
            by_table.setdefault(table, []).append(row)

    await insert_rows(database, by_table)


async def fill_nodes(database: Database, execution_id: str, count: int) -> None:
    """Store ``count`` completed nodes of a claimed execution, with their events."""
    at = "2026-01-01T00:00:00.000Z"
    node_runs: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    for number in range(count):
        seq = number + 3  # after the submission and the claim
        node = f"n{number:05}"
        row = {"id": f"{execution_id}:{node}", "executionId": execution_id, "nodeId": node}
        values = {"status": "completed", "timestamp": at, "seq": seq, "startSeq": seq}
        node_runs.append(row | values | {"inputData": "{}", "outputData": "{}"})
        event = {"executionId": execution_id, "seq": seq, "at": at, "status": "running"}
        done = {"completedNodes": number, "failedNodes": 0, "skippedNodes": 0}
        changes.append(event | done | {"nodeId": node, "nodeStatus": "completed"})
    await insert_rows(database, {logs: node_runs, events: changes})


async def insert_rows(database: Database, by_table: dict[Table, list[dict[str, Any]]]) -> None:
    """Store rows in the order of the tables."""

    def write(connection: Connection) -> None:
        for table, rows in by_table.items():
            if connection.dialect.name == "sqlite":
                connection.execute(table.insert(), rows)
                continue
            # One statement, because PostgreSQL takes many times longer for a statement per row.
            names = ", ".join(f'"{name}"' for name in rows[0])
            source = f"json_populate_recordset(NULL::{table.name}, :rows)"
            statement = text(f"INSERT INTO {table.name}({names}) SELECT {names} FROM {source}")
            connection.execute(statement, {"rows": json.dumps(rows)})
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))

    await database._access.writer.run(write)


def _rows(number: int, seconds: int) -> dict[Table, dict[str, Any]]:
    """Return the rows of one execution, which ended ``-seconds`` before the year 2026."""
    hours, rest = divmod(24 * 3600 + seconds, 3600)
    at = f"2025-12-31T{hours:02}:{rest // 60:02}:{rest % 60:02}.000Z"
    rare, name, node = number < RARE, f"e{number:06}", f"e{number:06}:a"
    status = "failed" if RARE <= number < 2 * RARE else "completed"
    return {
        workflows: _workflow(f"w{number}", "many", number),
        executions: {
            "id": name,
            "workflowId": "rare" if rare else "w",
            "organizationId": "few" if rare else "many",
            "status": status,
            "createdAt": at,
            "completedAt": at,
            "finalOutput": "{}",
            "nodeResults": "{}",
        },
        runs: {
            "executionId": name,
            "organization": "many",
            "definitionHash": "h",
            "workflowName": "W",
            "seq": 1,
            "totalNodes": 1,
            "completedNodes": 1,
            "failedNodes": 0,
            "skippedNodes": 0,
            "recoveries": 0,
            "endedAt": at,
        },
        logs: {
            "id": node,
            "executionId": name,
            "nodeId": "a",
            "status": "completed",
            "outputData": "{}",
            "timestamp": at,
            "seq": 1,
            "startSeq": 1,
        },
        events: {
            "executionId": name,
            "seq": 1,
            "at": at,
            "status": status,
            "completedNodes": 1,
            "failedNodes": 0,
            "skippedNodes": 0,
        },
        callbacks: {
            "id": name,
            "executionId": name,
            "host": "h",
            "url": "http://h",
            "attempts": 1,
            "deliveredAt": at,
        },
        requests: {"executionId": name, "request": "{}"},
        children: {
            "executionId": name,
            "parentId": f"e{max(0, number - 1):06}",
            "nodeRunId": node,
            "depth": 1,
            "rootId": f"e{max(0, number - 1):06}",
            "notifiedAt": at,
        },
        payloads: {"hash": name, "characters": 1, "bytes": 1, "preview": "0"},
        payload_parts: {"payloadHash": name, "position": 0, "chunkHash": name},
        chunks: {"hash": name, "text": "0"},
        payload_uses: {"executionId": name, "payloadHash": name},
        idempotency_keys: {
            "organization": "many",
            "key": name,
            "bodyHash": "b",
            "executionId": name,
            "createdAt": at,
        },
    }


def _workflow(workflow_id: str, organization: str, number: int) -> dict[str, Any]:
    return {
        "id": workflow_id,
        "organizationId": organization,
        "name": "W",
        "data": "{}",
        "createdAt": f"2025-01-01T00:00:00.{number:06}Z",
    }
