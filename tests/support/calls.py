"""Executions that call others, for tests."""

import sqlite3
from contextlib import closing
from typing import Any

from database.check import check_database
from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until

NEVER = 60.0
"""Seconds between two polls of a service that is to hear of everything without one."""


def call(node_id: str = "call", workflow_id: str = "child", **config: object) -> dict[str, Any]:
    return node(node_id, "subworkflow", subworkflowId=workflow_id, **config)


CALLS = document(
    node("start", "trigger"), call(), node("end"), flow=("start -> call", "call -> end")
)
GREETS = document(
    node("receive", "trigger"),
    node("greet", "addField", addFieldName="greeting", addFieldValue="Hello {{ name }}"),
    node("reply"),
    flow=("receive -> greet", "greet -> reply"),
)
FAILS = document(node("bad", "raise", message="out of paper"))


def children(service: RunningService, parent_id: str) -> list[dict[str, Any]]:
    """What an execution called, the first call first."""
    answer = service.http.get("/api/executions", params={"parentExecutionId": parent_id})
    return answer.json()["executions"][::-1]


def child_of(service: RunningService, parent_id: str) -> str:
    """The one execution that it called, as soon as there is one."""
    (child,) = wait_until(lambda: children(service, parent_id))
    return child["id"]


def violations(service: RunningService) -> list[str]:
    """What the service's own check finds."""
    return [line for line in check_database(service.settings.url).lines if line[:3] != "OK:"]


def delete_elsewhere(service: RunningService, execution_id: str, *, enforces: bool) -> None:
    """What the main project does, whether or not its connection enforces foreign keys."""
    tables = ("orchestrator_runs", "orchestrator_events", "execution_logs")
    with closing(sqlite3.connect(service.path, timeout=10)) as connection, connection:
        connection.execute(f"PRAGMA foreign_keys={int(enforces)}")
        for table in () if enforces else tables:
            connection.execute(f"DELETE FROM {table} WHERE executionId=?", (execution_id,))
        connection.execute("DELETE FROM workflow_executions WHERE id=?", (execution_id,))
