"""Pages of logs: their rows, sizes and limits, with rows that this service did not write."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from database import Database
from database.queries import log_pages
from database.queries.log_pages import LogPage, LogPageRequest
from database.tables import executions, logs, runs
from tests.support.call_trees import claim, submission, write
from tests.support.ended_executions import insert_rows
from tests.support.main_project import create_main_database

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

LAST = 50
"""Sequence number of the execution."""
MANY = 1_000_000


async def store(database: Database, *rows: dict[str, Any], execution_id: str = "e") -> None:
    """Store an execution with these rows of logs; each has an ``id`` like ``a``."""
    await database.submissions.submit(submission(execution_id))
    await claim(database)
    own = runs.c.executionId == execution_id
    await write(database, update(runs).where(own).values(seq=LAST))
    for row in rows:
        node_id = row["nodeId"]
        key = {"id": f"{execution_id}:{node_id}", "executionId": execution_id}
        await insert_rows(database, {logs: [{**key, "status": "completed", **row}]})


async def read(database: Database, after: int = 0, limit: int = 9, **values: Any) -> LogPage:
    request = LogPageRequest("e", after, limit, **{"max_characters": MANY, **values})
    return await database.log_pages.read(request)


def ids(page: LogPage) -> list[str | None]:
    return [log.node_id for log in page.logs]


def row(node_id: str, start_seq: int, seq: int, **values: Any) -> dict[str, Any]:
    return {"nodeId": node_id, "startSeq": start_seq, "seq": seq, **values}


@on_sqlite
async def test_a_page_has_the_first_changes_in_the_order_of_their_start(
    database: Database,
) -> None:
    await store(database, row("a", 1, 9), row("x", 1, 4), execution_id="other")
    await store(database, row("a", 1, 5), row("c", 3, 3), row("b", 2, 4))
    page = await read(database, limit=2)
    assert (ids(page), page.next_seq, page.has_more) == (["b", "c"], 4, True)
    page = await read(database, after=4, limit=2)
    assert (ids(page), page.next_seq, page.has_more) == (["a"], LAST, False)
    page = await read(database, after=3, limit=2)
    assert (ids(page), page.next_seq, page.has_more) == (["a", "b"], LAST, False)
    assert ids(await read(database, limit=3)) == ["a", "b", "c"]
    page = await read(database, after=5)
    assert (ids(page), page.next_seq, page.has_more) == ([], LAST, False)
    assert [(log.node_id, log.seq) for log in (await read(database)).logs] == [
        ("a", 5),
        ("b", 4),
        ("c", 3),
    ]


@on_sqlite
async def test_a_page_of_one_node_has_its_row_only(database: Database) -> None:
    await store(database, row("a", 1, 9), execution_id="other")
    await store(database, row("a", 1, 5), row("b", 2, 4))
    page = await read(database, node_id="a")
    assert (ids(page), page.next_seq, page.has_more) == (["a"], LAST, False)
    assert ids(await read(database, after=5, node_id="a")) == []
    assert ids(await read(database, node_id="unknown")) == []


@on_sqlite
async def test_a_page_is_full_at_its_size(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"inputData": '"12345678"', "outputData": '"123"'}  # 15 characters
    await store(database, *(row(name, i, i, **texts) for i, name in enumerate("abcdef", 1)))
    for rows_per_statement in (100, 2):
        monkeypatch.setattr(log_pages, "ROWS_PER_STATEMENT", rows_per_statement)
        for characters, expected in (
            (0, "a"),
            (29, "a"),
            (30, "ab"),
            (44, "ab"),
            (45, "abc"),
            (60, "abcd"),
            (89, "abcde"),
            (90, "abcdef"),
        ):
            page = await read(database, max_characters=characters)
            assert "".join(map(str, ids(page))) == expected
            assert page.has_more == (expected != "abcdef")
            assert page.next_seq == (len(expected) if page.has_more else LAST)
            assert page.characters == 15 * len(expected)


@on_sqlite
async def test_a_page_has_the_start_of_larger_payloads(database: Database) -> None:
    small, large = '"12345678"', f'"{"x" * 20_000}"'
    await store(
        database,
        row("a", 1, 1, inputData=small, outputData=large),
        row("b", 2, 2, inputData=large, outputData=None),
    )
    start = log_pages.PREVIEW_CHARACTERS
    assert start < len(large)
    for max_payload, whole in ((10, True), (9, False), (len(large), True)):
        page = await read(database, max_payload=max_payload)
        first = page.logs[0].input_data
        assert first is not None
        assert (first.text, first.size, first.cut) == (
            small if whole else small[:9],
            len(small),
            not whole,
        )
    page = await read(database, max_payload=len(large) - 1)
    output = page.logs[0].output_data
    assert output is not None
    assert (output.text, output.size, output.cut) == (large[:start], len(large), True)
    assert (page.logs[1].output_data, page.characters) == (None, 10 + 2 * start)
    page = await read(database, max_payload=0, max_characters=0)
    assert ids(page) == ["a", "b"]
    sizes = [(log.input_data.text, log.input_data.size) for log in page.logs if log.input_data]
    assert sizes == [("", len(small)), ("", len(large))]


@on_sqlite
async def test_starts_of_payloads_count_with_their_own_size(database: Database) -> None:
    large = f'"{"x" * 20_000}"'
    await store(database, *(row(name, i, i, outputData=large) for i, name in enumerate("abc", 1)))
    start = log_pages.PREVIEW_CHARACTERS
    for characters, expected in ((2 * start, ["a", "b"]), (2 * start - 1, ["a"])):
        page = await read(database, max_payload=len(large) - 1, max_characters=characters)
        assert ids(page) == expected
    for characters, expected in ((20, ["a", "b"]), (19, ["a"])):
        page = await read(database, max_payload=10, max_characters=characters)
        assert ids(page) == expected


@on_sqlite
async def test_rows_with_one_number_are_on_one_page(database: Database) -> None:
    await store(database, row("a", 1, 3), row("b", 2, 3), row("c", 3, 3), row("d", 4, 4))
    page = await read(database, limit=1)
    assert (ids(page), page.next_seq, page.has_more) == (["a", "b", "c"], 3, True)
    page = await read(database, limit=3)
    assert (ids(page), page.next_seq, page.has_more) == (["a", "b", "c"], 3, True)
    assert ids(await read(database, after=3)) == ["d"]


@on_sqlite
async def test_rows_without_a_number_are_numbered_by_their_times(database: Database) -> None:
    ended = {"id": "e", "workflowId": "w", "status": "completed"}
    open_ = {"id": "open", "workflowId": "w", "status": "running"}
    rows = [
        {"id": "3", "executionId": "e", "nodeId": "third", "timestamp": "2026-03"},
        {"id": "2", "executionId": "e", "nodeId": "second", "timestamp": "2026-02", "seq": 0},
        {"id": "1b", "executionId": "e", "nodeId": "also first", "timestamp": "2026-01"},
        {"id": "1", "executionId": "e", "nodeId": "first", "timestamp": "2026-01", "seq": -1},
    ]
    await insert_rows(database, {executions: [ended, open_]})
    for each in rows:
        await insert_rows(database, {logs: [each]})
    order = ["first", "also first", "second", "third"]
    page = await read(database, limit=3)
    assert (ids(page), page.next_seq, page.has_more) == (order[:3], 3, True)
    page = await read(database, after=3, limit=3)
    assert (ids(page), page.next_seq, page.has_more) == (order[3:], 4, False)
    page = await read(database, after=4)
    assert (ids(page), page.next_seq, page.has_more) == ([], 4, False)
    page = await database.log_pages.read(LogPageRequest("open", 4, 9, MANY))
    assert (page.logs, page.next_seq) == ([], 0)


@on_sqlite
async def test_the_size_of_a_page_includes_its_errors(database: Database) -> None:
    await store(
        database, row("a", 1, 1, error="12345", lastError="123", inputData="12"), row("b", 2, 2)
    )
    assert (await read(database)).characters == 10


async def test_rows_without_an_id_are_read(tmp_path: Path) -> None:
    path = tmp_path / "main.sqlite"
    create_main_database(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM execution_logs")
        connection.executemany(
            "INSERT INTO execution_logs(executionId, nodeId, outputData) VALUES (?, ?, ?)",
            [("old", "a", "1"), ("old", "b", "2")],
        )
        (execution_id,) = connection.execute("SELECT id FROM workflow_executions").fetchone()
        connection.execute("UPDATE execution_logs SET executionId = ?", (execution_id,))
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.prepare()
    for limit in (1, 9):
        page = await database.log_pages.read(LogPageRequest(execution_id, 0, limit, MANY))
        found = [(log.node_id, log.output_data and log.output_data.text) for log in page.logs]
        assert found == [("a", "1"), ("b", "2")][:limit]
    await database.close()
