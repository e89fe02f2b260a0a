"""Listings: pages are complete and without duplicates while executions are added and deleted."""

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text

from api.pagination import encode_cursor, parse_cursor
from database import Database, ExampleWorkflow
from database.executions.inputs import Submission
from database.queries.listings import Page
from database.queries.results import ExecutionCursor, ExecutionFilter
from database.records import WorkflowChange
from engine.errors import PreconditionFailedError, WorkflowInUseError
from engine.status import ExecutionStatus
from tests.support.fake_clock import MovingClock
from tests.support.generated import examples

EVERYTHING = ExecutionFilter()


async def submit(database: Database, execution_id: str, organization: str | None = None) -> None:
    submission = Submission(execution_id, "w", "A workflow", organization, "{}", None, 1)
    await database.submissions.submit(submission)


async def sql(database: Database, statement: str) -> None:
    await database._access.writer.run(lambda connection: connection.execute(text(statement)))


async def read_all(database: Database, wanted: ExecutionFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor: ExecutionCursor | None = None
    while True:
        page = await database.listings.executions(wanted, limit, cursor)
        assert len(page.items) <= limit
        found += [item.id for item in page.items]
        if page.end is None:
            return found
        cursor = parse_cursor(ExecutionCursor, encode_cursor(page.end))


async def test_pages_of_any_size_are_sorted_newest_first(
    database: Database, clock: MovingClock
) -> None:
    for i in range(9):
        await submit(database, f"e{i}")
        clock.advance(0.001 if i % 3 else 0)  # some have the same millisecond
    await sql(
        database,
        'INSERT INTO workflow_executions(id, "workflowId", status)'
        " VALUES ('old-1', 'w', 'running'), ('old-2', 'w', NULL)",
    )
    expected = [*(f"e{i}" for i in range(8, -1, -1)), "old-1", "old-2"]
    for limit in (1, 2, 3, 5, 10, 11, 12):
        assert await read_all(database, EVERYTHING, limit) == expected
    pending = ExecutionFilter(statuses=frozenset({ExecutionStatus.PENDING}))
    assert await read_all(database, pending, 4) == [*expected[:9], "old-2"]
    running = ExecutionFilter(statuses=frozenset({ExecutionStatus.RUNNING}))
    assert await read_all(database, running, 4) == ["old-1"]
    assert await read_all(database, ExecutionFilter(workflow_id="nope"), 4) == []


async def test_filters_are_combined(database: Database) -> None:
    for i in range(6):
        await submit(database, f"e{i}", "a" if i % 2 else "b")
    await database.queue.request_cancel("e1")
    cancelled = frozenset({ExecutionStatus.CANCELLED, ExecutionStatus.FAILED})
    assert await read_all(database, ExecutionFilter("a", "w"), 2) == ["e5", "e3", "e1"]
    assert await read_all(database, ExecutionFilter("a", "w", cancelled), 2) == ["e1"]
    assert await read_all(database, ExecutionFilter("b", None, cancelled), 2) == []


async def test_the_times_of_a_filter_include_their_start_and_not_their_end(
    database: Database, clock: MovingClock
) -> None:
    times: list[datetime] = []
    for i in range(4):
        times.append(clock())
        await submit(database, f"e{i}", "a" if i % 2 else "b")
        clock.advance(60)
    # Of another program, without a time.
    await sql(
        database,
        "INSERT INTO workflow_executions(id, \"workflowId\", status) VALUES ('old', 'w', 'failed')",
    )
    since = ExecutionFilter(created_from=times[1])
    assert await read_all(database, since, 2) == ["e3", "e2", "e1"]
    until = ExecutionFilter(created_to=times[1])
    assert await read_all(database, until, 2) == ["e0", "old"]
    between = ExecutionFilter("a", created_from=times[1], created_to=times[3])
    assert await read_all(database, between, 2) == ["e1"]
    in_another_zone = times[2].astimezone(timezone(timedelta(hours=9)))
    assert await read_all(database, ExecutionFilter(created_from=in_another_zone), 5) == [
        "e3",
        "e2",
    ]


Steps = st.lists(st.sampled_from(["page", "new", "same time", "delete"]), max_size=20)


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 12), st.integers(1, 4), Steps, st.randoms(use_true_random=False))
def test_unchanged_executions_are_listed_once(
    tmp_path: Path, before: int, limit: int, steps: list[str], random
) -> None:
    async def scenario() -> None:
        clock = MovingClock()
        path = tmp_path / "db.sqlite"
        database = Database(f"sqlite+aiosqlite:///{path}", clock)
        await database.prepare([ExampleWorkflow("w", "A workflow", "{}")])
        await sql(database, "DELETE FROM workflow_executions")
        existing: list[str] = []
        for i in range(before):
            existing.append(f"e{i}")
            await submit(database, existing[-1])
            clock.advance(random.choice([0, 0.001]))
        stayed, seen, made = set(existing), list[str](), 0
        cursor: ExecutionCursor | None = None
        for step in [*steps, *["page"] * (before + len(steps) + 1)]:
            if step == "page":
                page = await database.listings.executions(EVERYTHING, limit, cursor)
                seen += [item.id for item in page.items]
                cursor = page.end
                if cursor is None:
                    break
            elif step == "delete" and existing:
                gone = existing.pop(random.randrange(len(existing)))
                stayed.discard(gone)
                await sql(database, f"DELETE FROM workflow_executions WHERE id='{gone}'")
            elif step != "delete":
                clock.advance(0.001 if step == "new" else 0)
                made += 1
                existing.append(f"new{made}")
                await submit(database, existing[-1])
        await database.close()
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen)
        old = [item for item in seen if item.startswith("e")]
        assert old == sorted(old, key=lambda item: -int(item[1:]))

    asyncio.run(scenario())


ROWS = 30_000


async def fill(database: Database) -> None:
    """Store ``ROWS`` executions; one organization and one workflow have nearly all of them."""
    postgres = database._url.startswith("postgresql")
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{ROWS})"
    if postgres:
        numbers = f"WITH n(i) AS (SELECT generate_series(1, {ROWS}))"
    for statement in (
        "INSERT INTO workflows(id, name, data) VALUES ('small', 'Small', '{}')",
        "INSERT INTO orchestrator_definitions VALUES ('h', '{}', 'now')",
        'INSERT INTO workflow_executions(id, "workflowId", "organizationId", status, "createdAt") '
        f"{numbers} SELECT 'e' || i, CASE WHEN i % 5000 = 0 THEN 'small' ELSE 'w' END,"
        " CASE WHEN i % 5000 = 1 THEN 'few' ELSE 'many' END,"
        " CASE WHEN i % 1000 = 2 THEN 'failed' ELSE 'completed' END,"
        " '2026-01-01T00:00:' || (10 + i / 2000) || '.' || (100 + i / 3 % 667) || 'Z' FROM n",
        'INSERT INTO orchestrator_runs("executionId", "definitionHash", "workflowName",'
        " \"totalNodes\") SELECT id, 'h', 'A workflow', 1 FROM workflow_executions",
    ):
        await sql(database, statement)
    if postgres:
        await sql(database, "ANALYZE")


async def test_a_page_of_many_executions_uses_an_index(database: Database) -> None:
    await fill(database)
    failed = frozenset({ExecutionStatus.FAILED})
    first = await database.listings.executions(EVERYTHING, 1_000)
    for wanted in (
        EVERYTHING,
        ExecutionFilter("many"),
        ExecutionFilter("few"),
        ExecutionFilter(workflow_id="w"),
        ExecutionFilter(workflow_id="small"),
        ExecutionFilter("many", "w", failed),
        ExecutionFilter(statuses=failed),
    ):
        for cursor in (None, first.end):
            page, plan = await explained(database, wanted, cursor)
            assert page.items
            assert "orchestrator_executions_" in plan, plan
            # Rows with the same time are sorted, but not the whole table.
            assert "Seq Scan on workflow_executions" not in plan, plan
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan, plan


async def explained(
    database: Database, wanted: ExecutionFilter, cursor: ExecutionCursor | None
) -> tuple[Page[Any, Any], str]:
    """Return a page, and the plan of the query that read it."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: object, _cursor: object, sql: str, values: Any, *_: object) -> None:
        if "orchestrator_children" in sql:
            statements.append((sql, values))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        page = await database.listings.executions(wanted, 50, cursor)
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    ((statement, values),) = statements
    prefix = "EXPLAIN" if database._url.startswith("postgresql") else "EXPLAIN QUERY PLAN"
    rows = await database._access.reader.run(
        lambda connection: connection.exec_driver_sql(f"{prefix} {statement}", values).all()
    )
    return page, "\n".join(str(row[-1]) for row in rows)


# Saved workflows


async def test_one_of_many_concurrent_updates_of_a_version_succeeds(database: Database) -> None:
    created = await database.workflows.create("mine", None, WorkflowChange("0", "{}"))
    assert created.updated_at is not None
    versions = [created.updated_at]
    jobs = [
        database.workflows.update("mine", WorkflowChange(f"n{i}", "{}"), versions)
        for i in range(20)
    ]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    rejected = [result for result in results if isinstance(result, PreconditionFailedError)]
    (done,) = (result for result in results if not isinstance(result, BaseException))
    assert len(rejected) == 19
    assert await database.workflows.read("mine") == done
    assert done.updated_at is not None
    assert done.updated_at > created.updated_at  # although the clock did not move


async def test_a_workflow_with_running_executions_is_not_deleted(database: Database) -> None:
    await submit(database, "e")
    with pytest.raises(WorkflowInUseError, match="1 execution"):
        await database.workflows.delete("w")
    await database.queue.request_cancel("e")
    assert await database.workflows.delete("w") == []
    assert await read_all(database, EVERYTHING, 5) == []
