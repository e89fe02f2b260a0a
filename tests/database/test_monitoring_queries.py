"""Monitoring queries: statistics, attempts, tokens, failures, definitions and webhook responses."""

import json
from typing import Any

import pytest
from sqlalchemy import update

from database import Database
from database.clock import to_text
from database.queries import attempts as attempt_queries
from database.queries import failures as failure_queries
from database.queries import model_usage
from database.queries.attempts import Segment
from database.queries.model_usage import MAX_END_CHARACTERS, ModelUsage
from database.tables import events, executions, failures, logs, service_metadata
from database.waiting_tables import external_events, human_tasks
from engine.errors import ExecutionNotFoundError
from tests.support.call_trees import claim, rows, write, write_without_foreign_keys
from tests.support.changed_rows import insert, set_run, submit
from tests.support.ended_executions import insert_rows
from tests.support.fake_clock import MovingClock

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


# Statistics


async def test_the_queue_has_the_executions_that_are_claimable_now(
    database: Database, clock: MovingClock
) -> None:
    empty = await database.statistics.read_queue()
    assert (empty.depth, empty.oldest_seconds) == (0, 0.0)
    assert empty.open_executions == {"pending": 0, "running": 0, "waiting": 0}
    await submit(database, "running")
    await claim(database)
    clock.advance(5)
    await submit(database, "old")
    clock.advance(2)
    await submit(database, "new", "parked", "ended")
    await set_run(database, "parked", claimableAt="2030-01-01T00:00:00.000Z")
    await database.queue.request_cancel("ended")
    clock.advance(1.5)
    found = await database.statistics.read_queue()
    assert (found.depth, found.oldest_seconds) == (2, 3.5)
    assert found.open_executions == {"pending": 3, "running": 1, "waiting": 0}
    # An execution that was parked waits since the end of its wait.
    await set_run(database, "parked", claimableAt=to_text(clock()))
    clock.advance(10)
    found = await database.statistics.read_queue()
    assert (found.depth, found.oldest_seconds) == (3, 13.5)
    await set_run(database, "old", claimableAt=to_text(clock()))
    await set_run(database, "new", claimableAt=to_text(clock()))
    assert (await database.statistics.read_queue()).oldest_seconds == 10
    clock.advance(-20)
    assert (await database.statistics.read_queue()).oldest_seconds == 0.0


async def test_a_status_of_another_program_is_not_counted(database: Database) -> None:
    await submit(database, "paused", "pending")
    foreign = executions.c.id == "paused"
    await write(database, update(executions).where(foreign).values(status="paused"))
    found = await database.statistics.read_queue()
    assert found.open_executions == {"pending": 1, "running": 0, "waiting": 0}


async def test_open_tasks_and_kept_events_are_counted(database: Database) -> None:
    await submit(database, "e")
    for number, status in enumerate(("open", "open", "completed", "cancelled")):
        task = {"id": f"t{number}", "executionId": "e", "nodeId": f"n{number}", "status": status}
        counts = {"required": 1, "approvals": 0, "rejections": 0, "createdAt": "2026"}
        await insert(database, human_tasks, task | counts)
    for number, status in enumerate(("kept", "delivered", "delivering", "kept", "kept")):
        names = {"id": f"x{number}", "organization": "", "name": "n", "key": "k"}
        times = {"createdAt": "2026", "expiresAt": "2027"}
        await insert(
            database, external_events, {**names, "status": status, "deliveries": 0, **times}
        )
    found = await database.statistics.read_queue()
    assert (found.open_tasks, found.kept_events) == (2, 3)


async def test_the_probe_replaces_its_own_entry(database: Database, clock: MovingClock) -> None:
    before = {row.name: row.value for row in await rows(database, service_metadata)}
    for _ in range(2):
        clock.advance(1)
        await database.statistics.probe_write()
        found = {row.name: row.value for row in await rows(database, service_metadata)}
        assert found == {**before, "lastProbe": to_text(clock())}


# Attempts


def change(seq: int, node_id: str, status: str, attempt: int | None = 1) -> dict[str, Any]:
    counts = {"completedNodes": 0, "failedNodes": 0, "skippedNodes": 0}
    at = {"executionId": "e", "seq": seq, "at": f"at {seq}", **counts}
    return {**at, "nodeId": node_id, "nodeStatus": status, "attempt": attempt}


async def test_attempts_and_waits_are_the_segments_of_a_node_run(database: Database) -> None:
    await submit(database, "e", "other")
    node = {"executionId": "e", "status": "completed"}
    await insert(
        database,
        logs,
        {**node, "id": "e:retried", "nodeId": "retried", "attempt": 2, "startSeq": 10},
        {**node, "id": "e:parked", "nodeId": "parked", "waitedMs": 1, "startSeq": 11},
        {**node, "id": "e:waits", "nodeId": "waits", "waitingSince": "2026", "startSeq": 12},
        {**node, "id": "e:once", "nodeId": "once", "attempt": 1, "waitedMs": 0, "startSeq": 13},
        {**node, "id": "other:once", "nodeId": "once", "attempt": 9, "executionId": "other"},
    )
    await insert(
        database,
        events,
        change(10, "retried", "running"),
        change(11, "retried", "running"),  # a report of progress
        change(12, "retried", "running", 2),
        change(13, "retried", "completed", 2),
        change(14, "parked", "running", None),
        change(15, "parked", "waiting", None),
        change(16, "parked", "running", None),
        change(17, "waits", "waiting"),
        change(18, "once", "running"),
        change(19, "once", "completed"),
        {**change(10, "retried", "running", 7), "executionId": "other"},
    )
    assert await database.attempts.of_execution("e") == [
        Segment("parked", "running", 1, "at 14", "at 15"),
        Segment("parked", "parked", 1, "at 15", "at 16"),
        Segment("parked", "running", 1, "at 16", None),
        Segment("retried", "running", 1, "at 10", "at 12"),
        Segment("retried", "running", 2, "at 12", "at 13"),
        Segment("waits", "parked", 1, "at 17", None),
    ]


async def test_the_attempts_of_the_first_node_runs_are_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attempt_queries.MAX_NODE_RUNS == 1_000
    await submit(database, "e")
    rows_of_logs = [
        {"id": f"e:n{number}", "executionId": "e", "nodeId": f"n{number}", "attempt": 2}
        | {"startSeq": None if number == 5 else 2_000 - number}
        for number in range(1_002)
    ]
    await insert_rows(database, {logs: rows_of_logs})
    changes = [change(number + 10, f"n{number}", "running") for number in (0, 1, 2, 5, 1_001)]
    await insert(database, events, *changes)
    found = await database.attempts.of_execution("e")
    # The row without a start is the first one, and the last ones started first.
    assert [segment.node_id for segment in found] == ["n1001", "n2", "n5"]


# Tokens of models


def result(model: object = "m", tokens: object = (1, 2, 3), **values: object) -> str:
    names = ("promptTokens", "completionTokens", "totalTokens")
    usage = dict(zip(names, tokens, strict=True)) if isinstance(tokens, tuple) else tokens
    return json.dumps({**values, "model": model, "usage": usage})


async def usages(database: Database, *details: str | None, **values: Any) -> list[ModelUsage]:
    """Return the tokens of an execution whose nodes have these results."""
    await write(database, logs.delete())
    for number, detail in enumerate(details):
        node = {"id": f"e:n{number}", "executionId": "e", "nodeId": f"n{number}"}
        await insert(database, logs, {**node, "resultDetail": detail, "startSeq": number, **values})
    return await database.model_usages.of_executions(["e"])


async def test_the_tokens_of_each_model_node_are_read(database: Database) -> None:
    await submit(database, "e")
    reply = 'a "usage": {"promptTokens": 9} \\ ' + "x" * MAX_END_CHARACTERS
    long_name = 'a "quoted", \\ model'
    found = await usages(
        database,
        result("small"),
        '{"success": true}',
        None,
        result("large", (4, 5, 9), text=reply),
        result(long_name, (0, 0, 0), text=reply),
    )
    assert found == [
        ModelUsage("e", "n0", "small", 1, 2, 3),
        ModelUsage("e", "n3", "large", 4, 5, 9),
        ModelUsage("e", "n4", long_name, 0, 0, 0),
    ]
    assert await usages(database, result(), reusedFrom="another") == []


async def test_results_without_numbers_of_tokens_are_left_out(database: Database) -> None:
    await submit(database, "e")
    long = "x" * MAX_END_CHARACTERS
    for text in ("", long):
        for invalid in (
            result(7, text=text),
            result("m", (1, None, 2), text=text),
            result("m", (1, -1, 0), text=text),
            result("m", ("1", 2, 3), text=text),
            result("m", [1, 2, 3], text=text),
            json.dumps({"text": text, "usage": {"promptTokens": 1}}),
            json.dumps({"text": text, "model": "m", "other": 1, "usage": {"promptTokens": 1}}),
        ):
            assert await usages(database, invalid) == [], invalid


async def test_the_end_of_a_result_is_enough_for_its_tokens(database: Database) -> None:
    await submit(database, "e")
    expected = [ModelUsage("e", "n0", "m", 1, 2, 3)]
    for length in range(MAX_END_CHARACTERS - 4, MAX_END_CHARACTERS + 4):
        empty = len(result(text=""))
        assert await usages(database, result(text="x" * (length - empty))) == expected


async def test_the_tokens_of_many_executions_are_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"e{number}" for number in range(5)]
    await submit(database, *names)
    for name in names:
        node = {"id": f"{name}:n", "executionId": name, "nodeId": "n", "resultDetail": result()}
        await insert(database, logs, node)
    monkeypatch.setattr(model_usage, "_IDS_PER_STATEMENT", 2)
    found = await database.model_usages.of_executions(names[:4])
    assert [usage.execution_id for usage in found] == names[:4]
    assert await database.model_usages.of_executions([]) == []


# Failures


def failure(execution_id: str, at: str, fingerprint: str = "f", **values: Any) -> dict[str, Any]:
    names = {"executionId": execution_id, "organization": "", "workflowId": "w"}
    return {**names, "fingerprint": fingerprint, "message": "broke", "failedAt": at, **values}


async def test_failures_with_one_fingerprint_are_a_group(database: Database) -> None:
    assert failure_queries.EXAMPLES_PER_GROUP == 3
    await submit(database, *(f"e{number}" for number in range(8)))
    await set_run(database, "e4", workflowName="Renamed")
    await insert(
        database,
        failures,
        *(failure(f"e{number}", f"2026-0{number + 1}") for number in range(4)),
        failure("e4", "2026-05", nodeId="n", nodeType="http", message="timed out", rerunAs="x"),
        failure("e5", "2026-03", "f", organization="org"),
        failure("e6", "2026-04", "g", workflowId="other", rerunAs="y"),
        failure("e7", "2026-09", "h"),
    )
    for table, column in (("orchestrator_runs", "executionId"), ("workflow_executions", "id")):
        sql = f"DELETE FROM {table} WHERE {column} = 'e7'"
        await write_without_foreign_keys(database, sql)
    found = await database.failures.groups(None, None, 9)
    facts = [
        (group.fingerprint, group.organization_id, group.count, group.rerun_count)
        for group in found
    ]
    assert facts == [("f", None, 5, 1), ("g", None, 1, 1), ("f", "org", 1, 0)]
    first = found[0]
    assert first.execution_ids == ["e4", "e3", "e2"]
    assert (first.first_at, first.last_at) == ("2026-01", "2026-05")
    assert (first.workflow_id, first.workflow_name) == ("w", "Renamed")
    assert (first.node_id, first.node_type, first.message) == ("n", "http", "timed out")
    (own,) = await database.failures.groups("org", None, 9)
    assert own.execution_ids == ["e5"]
    (other,) = await database.failures.groups(None, "other", 9)
    assert other.execution_ids == ["e6"]
    assert await database.failures.groups("org", "other", 9) == []
    assert len(await database.failures.groups(None, None, 2)) == 1  # and the deleted one


async def test_only_a_failure_with_a_failure_workflow_shows_its_start(database: Database) -> None:
    await submit(database, "plain", "started", "completed")
    await write(database, update(executions).values(status="failed"))
    done = executions.c.id == "completed"
    await write(database, update(executions).where(done).values(status="completed"))
    start = {"failureWorkflowId": "on error", "failureExecutionId": "x", "failureError": None}
    await insert(
        database,
        failures,
        failure("plain", "2026"),
        failure("started", "2026", **start),
        failure("completed", "2026", **{**start, "failureExecutionId": "y"}),
    )
    found = {
        name: (await database.queries.execution(name)).failure_workflow
        for name in ("plain", "started", "completed")
    }
    assert (found["plain"], found["completed"]) == (None, None)
    shown = found["started"]
    assert shown is not None
    assert (shown.workflow_id, shown.execution_id, shown.error) == ("on error", "x", None)


# Definitions and webhook responses


async def test_the_definition_of_an_execution_is_the_one_of_its_submission(
    database: Database,
) -> None:
    await submit(database, "other", document='{"other": 1}')
    await submit(database, "e", document='{"own": 1}')
    found = await database.definitions.read("e")
    assert (found.workflow_id, found.workflow_name) == ("w", "A workflow")
    assert found.document == '{"own": 1}'
    with pytest.raises(ExecutionNotFoundError):
        await database.definitions.read("unknown")


async def test_the_response_is_that_of_the_first_completed_node_of_the_type(
    database: Database,
) -> None:
    await submit(database, "e", "other")

    def node(name: str, seq: int, **values: Any) -> dict[str, Any]:
        own = {"id": f"e:{name}", "executionId": "e", "nodeId": name, "nodeType": "response"}
        return {**own, "status": "completed", "seq": seq, **values}

    await insert(
        database,
        logs,
        node("failed", 1, status="error", resultDetail='{"n": 1}'),
        node("another type", 2, nodeType="http", resultDetail='{"n": 2}'),
        {**node("x", 3, resultDetail='{"n": 3}'), "id": "other:x", "executionId": "other"},
        node("second", 5, resultDetail='{"n": 5}'),
        node("first", 4, resultDetail='{"n": 4}'),
    )
    assert await database.webhook_responses.first("e", "response") == {"n": 4}
    assert await database.webhook_responses.first("e", "unknown") is None
