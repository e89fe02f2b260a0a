"""sql node: rows, parameters, limits and errors, on SQLite and PostgreSQL."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config import Settings, SettingsError, load_settings
from engine.document import Node
from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tasks.registry import DEFAULT
from tests.support.postgres import new_postgres_database
from worker_setup import sql_connections_of

TABLE = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)"


def settings_of(**connections: str) -> Settings:
    secret = SecretStr(json.dumps(connections))
    return Settings(_env_file=None, sql_connections=secret)  # pyright: ignore[reportCallIssue]


def use(**connections: str) -> None:
    known = sql_connections_of(settings_of(**connections))
    enter_node_run(NodeRun(HandlerSettings(sql_connections=known)))


async def run(query: str, data: Any = None, **config: Any) -> Any:
    values = {"sqlConnection": "crm", "sqlQuery": query, **config}
    return await NODE_HANDLERS["sql"].fn({"id": "q", "config": values}, data)


async def failure(query: str, data: Any = None, **config: Any) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await run(query, data, **config)
    return raised.value


@pytest.fixture(params=["sqlite", "postgresql"])
async def crm(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database with two customers."""
    if request.param == "sqlite":
        path = tmp_path / "my crm.sqlite"
        sqlite3.connect(path).close()
        path.touch()
        use(crm=f"sqlite:///{path}")
        await prepare()
        yield request.param
        return
    async with new_postgres_database() as url:
        use(crm=url)
        await prepare()
        yield request.param


async def prepare() -> None:
    assert (await run(TABLE))["success"]
    result = await run("INSERT INTO customers VALUES (1, 'Ada'), (2, 'Grace')")
    assert result["outputData"] == {"rowCount": 2}


async def test_rows_are_a_list_of_objects(crm: str):
    result = await run("SELECT id, name FROM customers ORDER BY id")
    assert result["outputData"] == [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]
    assert result["message"] == "2 rows returned"


async def test_a_parameter_is_a_template_and_keeps_its_type(crm: str):
    query = "SELECT name FROM customers WHERE id = :id"
    result = await run(query, {"who": 2}, sqlParameters={"id": "{{ who }}", "unused": "x"})
    assert result["outputData"] == [{"name": "Grace"}]


async def test_a_value_cannot_change_the_statement(crm: str):
    attack = "Ada'; DROP TABLE customers; --"
    query = "SELECT id FROM customers WHERE name = :name"
    result = await run(query, {"name": attack}, sqlParameters={"name": "{{ name }}"})
    assert result["outputData"] == []
    assert len((await run("SELECT id FROM customers"))["outputData"]) == 2


async def test_the_statement_is_not_a_template(crm: str):
    result = await run("SELECT '{{ name }}' AS x", {"name": "Ada"})
    assert result["outputData"] == [{"x": "{{ name }}"}]


async def test_more_rows_than_the_maximum_fail_and_change_nothing(crm: str):
    error = await failure("SELECT id FROM customers", sqlMaxRows=1)
    assert "more than 1 rows (sqlMaxRows)" in str(error)
    query = "INSERT INTO customers VALUES (3, 'C'), (4, 'D') RETURNING id"
    assert not (await failure(query, sqlMaxRows=1)).retryable
    assert len((await run("SELECT id FROM customers"))["outputData"]) == 2
    assert (await run(query))["outputData"] == [{"id": 3}, {"id": 4}]


async def test_an_error_of_the_statement_is_permanent_and_named(crm: str):
    error = await failure("INSERT INTO customers VALUES (1, 'Again')")
    assert not error.retryable
    assert "unique" in str(error).lower()


async def test_several_statements_are_rejected(crm: str):
    await failure("SELECT 1; DELETE FROM customers")
    assert len((await run("SELECT id FROM customers"))["outputData"]) == 2


async def test_values_become_json():
    async with new_postgres_database() as url:
        use(crm=url)
        query = (
            "SELECT 12.50::numeric AS price, 3::numeric AS whole, 'NaN'::float8 AS nan,"
            " '2026-01-02T03:04:05Z'::timestamptz AS at, 'ab'::bytea AS raw, ARRAY[1,2] AS list,"
            " '00000000-0000-0000-0000-000000000001'::uuid AS id, NULL AS nothing"
        )
        (row,) = (await run(query))["outputData"]
        assert row == {
            "price": 12.5,
            "whole": 3,
            "nan": "nan",
            "at": "2026-01-02T03:04:05+00:00",
            "raw": {"base64": "YWI="},
            "list": [1, 2],
            "id": "00000000-0000-0000-0000-000000000001",
            "nothing": None,
        }


async def test_an_unknown_connection_names_the_known_ones():
    use(crm="sqlite:///x.sqlite", erp="sqlite:///y.sqlite")
    error = await failure("SELECT 1", sqlConnection="cmr")
    assert "'cmr' is not in SQL_CONNECTIONS (it has: crm, erp)" in str(error)


async def test_a_missing_file_is_not_created(tmp_path: Path):
    use(crm=f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert (await failure("SELECT 1")).retryable
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one small directory
    # The driver ends its thread later, and notifies the event loop, which this test would close.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)


async def test_an_unreachable_server_may_be_retried():
    use(crm="postgresql://user:hidden-password@127.0.0.1:1/none")
    error = await failure("SELECT 1")
    assert error.retryable
    assert "hidden-password" not in str(error)


async def test_a_cancelled_statement_of_sqlite_stops(tmp_path: Path):
    path = tmp_path / "crm.sqlite"
    path.touch()
    use(crm=f"sqlite:///{path}")
    forever = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await run(forever)


@pytest.mark.parametrize(
    ("config", "detail"),
    [
        ({"sqlQuery": "SELECT 1"}, "'sqlConnection' is required"),
        ({"sqlConnection": "crm"}, "'sqlQuery' is required"),
        (
            {"sqlConnection": "crm", "sqlQuery": "SELECT :a, :b", "sqlParameters": {"a": 1}},
            "'sqlParameters' lacks the parameter 'b' of the statement",
        ),
        ({"sqlConnection": "crm", "sqlQuery": "SELECT 1", "sqlMaxRows": 0}, "'sqlMaxRows'"),
        ({"sqlConnection": "crm", "sqlQuery": "SELECT 1", "sqlMaxRows": 10_001}, "'sqlMaxRows'"),
    ],
)
def test_an_invalid_config_is_rejected(config: dict[str, Any], detail: str):
    (problem,) = DEFAULT.check(Node("q", "sql", "Q", config, "/nodes/0", "/nodes/0/config"))
    assert detail in problem.detail


@pytest.mark.parametrize("value", ["no json", "[]", '{"": "x"}', '{"crm": 5}'])
def test_an_invalid_setting_stops_the_start(value: str):
    with pytest.raises(SettingsError, match="SQL_CONNECTIONS: Input should"):
        load_settings(sql_connections=SecretStr(value))


def test_an_invalid_address_names_the_connection():
    with pytest.raises(SettingsError, match=r"SQL_CONNECTIONS: 'crm': .*accepted are"):
        sql_connections_of(settings_of(crm="mysql://user:hidden@host/db"))
