"""Migrated tables: the keys, columns and indexes that the migrations create."""

from typing import Any

import pytest
from sqlalchemy import Connection, inspect

from database import Database
from database.tables import callbacks

# By table, without the prefix of this service: the columns of the primary key, other unique
# columns, and the foreign keys with the action on a deletion.
EXECUTION = ("executionId", "workflow_executions", "CASCADE")
KEYS: dict[str, tuple[list[str], list[list[str]], list[tuple[str, str, str | None]]]] = {
    "bulk_items": (
        ["bulkId", "executionId"],
        [],
        [("bulkId", "orchestrator_bulk_operations", "CASCADE")],
    ),
    "bulk_operations": (["id"], [["organization", "idempotencyKey"]], []),
    "callbacks": (["id"], [], [EXECUTION]),
    "children": (["executionId"], [], [("parentId", "workflow_executions", "SET NULL")]),
    "chunks": (["hash"], [], []),
    "definitions": (["hash"], [], []),
    "event_waits": (["position"], [["executionId", "nodeId"]], [EXECUTION]),
    "events": (["position"], [["executionId", "seq"]], [EXECUTION]),
    "external_events": (["position"], [["id"], ["organization", "idempotencyKey"]], []),
    "failures": (["executionId"], [["failureExecutionId"]], [EXECUTION]),
    "fairness": (["organization"], [], []),
    "idempotency_keys": (["organization", "key"], [], []),
    "metadata": (["name"], [], []),
    "payload_parts": (["payloadHash", "position"], [], []),
    "payload_uses": (["executionId", "payloadHash"], [], [EXECUTION]),
    "payloads": (["hash"], [], []),
    "permits": (["position"], [], []),
    "requests": (["executionId"], [], [EXECUTION]),
    "runs": (
        ["position"],
        [["executionId"]],
        [("definitionHash", "orchestrator_definitions", None), EXECUTION],
    ),
    "schedule_runs": (["scheduleId", "instant"], [["executionId"]], [EXECUTION]),
    "schedules": (["id"], [], []),
    "task_answers": (["taskId", "assignee"], [], [("taskId", "orchestrator_tasks", "CASCADE")]),
    "task_assignees": (["taskId", "assignee"], [], [("taskId", "orchestrator_tasks", "CASCADE")]),
    "tasks": (["id"], [["executionId", "nodeId"]], [EXECUTION]),
    "workflow_versions": (["workflowId"], [], []),
}
_LISTED = ["status", "createdAt"]
INDEXES = {
    "bulk_items": {"status": ["bulkId", "status", "executionId"]},
    "bulk_operations": {"claimable": ["claimableAt"]},
    "callbacks": {
        "due": ["dueAt", "host"],
        "execution": ["executionId"],
        "of_host": ["host", "dueAt"],
    },
    "children": {
        "of_parent": ["parentId"],
        "of_root": ["rootId"],
        "unnotified": ["executionId"],
    },
    "event_waits": {"matched": ["organization", "name", "key", "position"]},
    "external_events": {
        "expired": ["expiresAt"],
        "kept": ["status", "organization"],
        "listed": ["status", "position"],
        "matched": ["organization", "name", "key", "status", "position"],
        "of_organization": ["organization", "position"],
    },
    "failures": {
        "of_organization": ["organization", "fingerprint", "failedAt", "executionId", "rerunAs"],
    },
    "idempotency_keys": {"created": ["createdAt"]},
    "payload_parts": {"of_chunk": ["chunkHash"]},
    "payload_uses": {"of_payload": ["payloadHash"]},
    "permits": {
        "execution": ["executionId"],
        "order": ["name", "position"],
        "request": ["request"],
    },
    "runs": {
        "claimable": ["claimableAt"],
        "definition": ["definitionHash"],
        "ended": ["endedAt"],
        "limited": ["maxConcurrentExecutions", "claimableAt"],
        "owned": ["owner"],
    },
    "schedule_runs": {"open": ["scheduleId"]},
    "schedules": {
        "blocked": ["blockedBy"],
        "due": ["dueAt"],
        "handled": ["handledAt"],
        "of_workflow": ["workflowId", "nodeId"],
    },
    "task_assignees": {
        "listed": ["assignee", *_LISTED, "taskId"],
        "of_organization": ["organizationId", "assignee", *_LISTED, "taskId"],
    },
    "tasks": {
        "due": ["dueAt"],
        "listed": [*_LISTED, "id"],
        "of_organization": ["organizationId", *_LISTED, "id"],
    },
}
ON_POSTGRESQL = {"external_events": {"listed": ["position"]}}
"""The columns of indexes that differ between the databases."""
PREFIX = "orchestrator_"


async def _described(database: Database, table: str) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        found = inspect(connection)
        indexed = found.get_indexes(table)
        unique = [each["column_names"] for each in found.get_unique_constraints(table)]
        unique += [
            each["column_names"]
            for each in indexed
            if each["unique"] and "duplicates_constraint" not in each
        ]
        foreign = [
            (
                each["constrained_columns"][0],
                each["referred_table"],
                each.get("options", {}).get("ondelete"),
            )
            for each in found.get_foreign_keys(table)
        ]
        indexes = {
            str(each["name"]).removeprefix(f"{table}_"): each["column_names"]
            for each in indexed
            if not each["unique"]
        }
        return {
            "keys": (
                found.get_pk_constraint(table)["constrained_columns"],
                sorted(unique),
                sorted(foreign, key=lambda each: each[0]),
            ),
            "indexes": indexes,
            "columns": {each["name"]: each["nullable"] for each in found.get_columns(table)},
        }

    return await database._access.reader.run(read)


TABLES = [name for name in callbacks.metadata.tables if name.startswith(PREFIX)]


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_a_table_has_the_columns_and_the_key_of_its_declaration(
    database: Database, table: str
) -> None:
    found = await _described(database, table)
    declared = callbacks.metadata.tables[table]
    assert found["keys"][0] == [column.name for column in declared.primary_key.columns]
    assert found["columns"] == {column.name: bool(column.nullable) for column in declared.columns}


def test_every_table_is_described() -> None:
    assert {PREFIX + name for name in KEYS} == set(TABLES)


@pytest.mark.parametrize("name", sorted(KEYS))
async def test_a_table_has_the_constraints_and_indexes_that_its_queries_need(
    database: Database, name: str
) -> None:
    found = await _described(database, PREFIX + name)
    assert found["keys"] == KEYS[name]
    differing = ON_POSTGRESQL if database._url.startswith("postgresql") else {}
    assert found["indexes"] == INDEXES.get(name, {}) | differing.get(name, {})
