"""Subworkflow calls: workflows that call others, and queries about their executions."""

import sqlite3
from contextlib import closing
from typing import Any

from database.check import check_database
from tests.support.documents import document, node
from tests.support.service import RunningService, wait_until

NEVER = 60.0  # the maximum of the setting
"""Poll interval of a service whose notifications must arrive without a poll, in seconds."""


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
    """Return the children of an execution, in the order of the calls."""
    response = service.http.get("/api/executions", params={"parentExecutionId": parent_id})
    return response.json()["executions"][::-1]


def child_of(service: RunningService, parent_id: str) -> str:
    """Wait for the only child of an execution; return its id."""
    (child,) = wait_until(lambda: children(service, parent_id))
    return child["id"]


def violations(service: RunningService) -> list[str]:
    """Return the violations that the service's check finds."""
    return [line for line in check_database(service.settings.url).lines if line[:3] != "OK:"]


def delete_elsewhere(service: RunningService, execution_id: str, *, enforces: bool) -> None:
    """Delete an execution like the main project, with or without enforced foreign keys."""
    tables = ("orchestrator_runs", "orchestrator_events", "execution_logs")
    with closing(sqlite3.connect(service.path, timeout=10)) as connection, connection:
        connection.execute(f"PRAGMA foreign_keys={int(enforces)}")
        for table in () if enforces else tables:
            connection.execute(f"DELETE FROM {table} WHERE executionId=?", (execution_id,))
        connection.execute("DELETE FROM workflow_executions WHERE id=?", (execution_id,))
