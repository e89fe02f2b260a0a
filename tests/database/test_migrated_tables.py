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
    "callbacks": (["id"], [], [EXECUTION]),
    "children": (["executionId"], [], [("parentId", "workflow_executions", "SET NULL")]),
    "definitions": (["hash"], [], []),
    "events": (["position"], [["executionId", "seq"]], [EXECUTION]),
    "failures": (["executionId"], [], [EXECUTION]),
    "fairness": (["organization"], [], []),
    "idempotency_keys": (["organization", "key"], [], []),
    "metadata": (["name"], [], []),
    "requests": (["executionId"], [], [EXECUTION]),
    "runs": (
        ["position"],
        [["executionId"]],
        [("definitionHash", "orchestrator_definitions", None), EXECUTION],
    ),
}
INDEXES = {
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
    "failures": {
        "of_organization": ["organization", "fingerprint", "failedAt", "executionId", "rerunAs"],
    },
    "idempotency_keys": {"created": ["createdAt"]},
    "runs": {
        "claimable": ["claimableAt"],
        "definition": ["definitionHash"],
        "ended": ["endedAt"],
        "owned": ["owner"],
    },
}
PREFIX = "orchestrator_"


async def _described(database: Database, table: str) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        found = inspect(connection)
        unique = [each["column_names"] for each in found.get_unique_constraints(table)]
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
            for each in found.get_indexes(table)
            if not each["unique"]
        }
        return {
            "keys": (
                found.get_pk_constraint(table)["constrained_columns"],
                unique,
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


@pytest.mark.parametrize("name", sorted(KEYS))
async def test_a_table_has_the_constraints_and_indexes_that_its_queries_need(
    database: Database, name: str
) -> None:
    found = await _described(database, PREFIX + name)
    assert found["keys"] == KEYS[name]
    assert found["indexes"].items() >= INDEXES.get(name, {}).items()
