"""Open tasks: fills a database with parked executions whose tasks wait for people."""

from typing import Any

from sqlalchemy import Table

from database import Database
from database.tables import definitions, executions, logs, runs
from database.waiting_tables import human_tasks, task_assignees
from tests.support.ended_executions import insert_rows

PEOPLE = 10
"""Number of assignees; each has an equal share of the tasks."""
RARE = "rare@example.com"
"""Assignee of the ten oldest tasks, which belong to the organization ``few``."""


async def fill_tasks(database: Database, count: int) -> None:
    """Store ``count`` open tasks, and as many that have ended."""
    by_table: dict[Table, list[dict[str, Any]]] = {
        definitions: [{"hash": "tasks", "document": "{}", "createdAt": "2025"}]
    }
    for number in range(2 * count):
        for table, row in _rows(number, is_open=number % 2 == 0).items():
            by_table.setdefault(table, []).append(row)
    await insert_rows(database, by_table)


def _rows(number: int, *, is_open: bool) -> dict[Table, dict[str, Any]]:
    name, rare = f"t{number:06}", number < 20
    hours, rest = divmod(number, 3_600)
    at = f"2025-12-01T{hours:02}:{rest // 60:02}:{rest % 60:02}.000Z"
    shared = {
        "organizationId": "few" if rare else "many",
        "status": "open" if is_open else "completed",
        "createdAt": at,
    }
    ended = None if is_open else at
    return {
        executions: {
            "id": name,
            "workflowId": "w",
            "organizationId": shared["organizationId"],
            "status": "waiting" if is_open else "completed",
            "createdAt": at,
            "completedAt": ended,
        },
        runs: {
            "executionId": name,
            "organization": shared["organizationId"],
            "definitionHash": "tasks",
            "workflowName": "W",
            "seq": 1,
            "totalNodes": 1,
            "completedNodes": 0 if is_open else 1,
            "failedNodes": 0,
            "skippedNodes": 0,
            "recoveries": 0,
            "endedAt": ended,
        },
        logs: {
            "id": f"{name}:ask",
            "executionId": name,
            "nodeId": "ask",
            "nodeType": "approval",
            "status": "waiting" if is_open else "completed",
            "timestamp": at,
            "seq": 1,
            "startSeq": 1,
        },
        human_tasks: {
            "id": name,
            "executionId": name,
            "nodeId": "ask",
            "message": f"Pay {number}?",
            "required": 1,
            "approvals": 0 if is_open else 1,
            "rejections": 0,
            "approved": None if is_open else 1,
            "endedAt": ended,
            **shared,
        },
        task_assignees: {
            "taskId": name,
            "assignee": RARE if rare else f"person{number // 2 % PEOPLE}@example.com",
            **shared,
        },
    }
