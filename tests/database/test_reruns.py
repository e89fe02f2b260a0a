"""Reruns in the database: the rows that a rerun copies, and those that stay as they are."""

from dataclasses import replace
from typing import Any

import pytest

from database import Database
from database.executions.journal_records import (
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
)
from database.tables import events, executions, failures, logs, payload_uses, requests, runs
from engine.document import Node
from engine.errors import ExecutionNotFoundError
from engine.outcome import Progress
from engine.status import NodeStatus
from tests.support.call_trees import FAILED, claim, rows, submission, write
from tests.support.fake_clock import MovingClock
from tests.support.incompressible import incompressible
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

NODES = [Node(name, "custom", f"The node {name}", {}) for name in "abc"]
LARGE = f'"{incompressible(9_000)}"'
UNUSED = f'"{incompressible(9_000, 1)}"'
SOURCE_BYTES = len("é".encode()) + 2


async def run(database: Database, execution_id: str, **values: Any) -> None:
    """Run ``a`` and ``b``, skip ``d``, and fail in ``c``."""
    first = replace(submission(execution_id, **values), inputs='"é"', total_nodes=4)
    await database.submissions.submit(first)
    lease = await claim(database)
    seq, record = BEGUN, database.journal.record_step
    for node, output in zip(NODES, ('{"é": 1}', LARGE, UNUSED), strict=True):
        started = NodeStarted(node, '{"in": 1}', 1, resumed=False)
        ended = NodeEnded(node.id, NodeStatus.COMPLETED, 7, output, '{"n": 1}')
        seq = await record(lease, seq, Progress(4, 0, 0, 0), None, NodeChanges(started=[started]))
        decided = [NodeOutcomeRecorded(Node("d", "output", "D", {}))] if node.id == "a" else []
        changes = NodeChanges(ended=[ended], decided=decided)
        seq = await record(lease, seq, Progress(4, 1, 0, 0), None, changes)
    await database.journal.finish(lease, seq, FAILED)


async def state(database: Database, *names: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of these executions in each table."""
    found: list[list[tuple[Any, ...]]] = []
    for table in (executions, runs, logs, events, requests, payload_uses):
        key = "id" if table is executions else "executionId"
        every = await rows(database, table)
        found.append([tuple(row) for row in every if getattr(row, key) in names])
    return found


async def test_a_rerun_copies_the_reused_nodes_in_their_order(
    database: Database, clock: MovingClock
) -> None:
    await run(database, "source", request='{"by": "webhook"}')
    await run(database, "other", request='{"by": "another"}')
    before = await state(database, "source", "other")
    clock.advance(60)
    again = submission("again", rerun_of="source", reused_nodes=("b", "a"))
    again = replace(again, total_nodes=4, progress=Progress(4, 2, 0, 0))
    await database.submissions.submit(again)
    assert await state(database, "source", "other") == before
    own = [row for row in await rows(database, logs) if row.executionId == "again"]
    assert [(row.id, row.nodeId, row.seq, row.startSeq) for row in own] == [
        ("again:b", "b", 1, 1),
        ("again:a", "a", 2, 2),
    ]
    source = {row.nodeId: row for row in await rows(database, logs) if row.executionId == "source"}
    own_columns = ("id", "executionId", "seq", "startSeq", "reusedFrom")
    copied = [column.name for column in logs.c if column.name not in own_columns]
    for row in own:
        assert row.reusedFrom == "source"
        assert [getattr(row, name) for name in copied] == [
            getattr(source[row.nodeId], name) for name in copied
        ]
    recorded = [row for row in await rows(database, events) if row.executionId == "again"]
    assert [(row.seq, row.nodeId, row.nodeStatus, row.status) for row in recorded] == [
        (1, "b", "completed", "pending"),
        (2, "a", "completed", "pending"),
        (3, None, None, "pending"),
    ]
    (new,) = [row for row in await rows(database, runs) if row.executionId == "again"]
    assert (new.seq, new.rerunOf, new.completedNodes, new.failureOf) == (3, "source", 2, None)
    assert {row.executionId: row.request for row in await rows(database, requests)} == {
        "source": '{"by": "webhook"}',
        "again": '{"by": "webhook"}',
        "other": '{"by": "another"}',
    }
    assert {row.executionId: row.rerunAs for row in await rows(database, failures)} == {
        "source": "again",
        "other": None,
    }
    # Of the large values of the source, only those that the copied rows contain are used.
    uses = [row for row in await rows(database, payload_uses) if row.executionId == "again"]
    assert len(uses) == 1
    lease = await claim(database)
    loaded = await database.journal.load(lease)
    assert {str(key) for key in loaded.outcomes} == {"a", "b"}
    assert await database.find_violations(service_runs=True) == []


async def test_the_bytes_of_a_rerun_are_those_of_its_inputs_and_its_copied_rows(
    database: Database,
) -> None:
    await run(database, "source")
    sizes: dict[str, int] = {}
    for name, reused in (("none", ()), ("a", ("a",)), ("b", ("b",)), ("both", ("a", "b"))):
        again = submission(name, rerun_of="source", reused_nodes=reused)
        await database.submissions.submit(replace(again, inputs='"é"'))
        (row,) = [row for row in await rows(database, runs) if row.executionId == name]
        sizes[name] = row.storedBytes
    detail = len('{"in": 1}') + len('{"n": 1}')
    # An output is stored in the row of its node and in the results of the execution.
    of_a = detail + 2 * len('{"é": 1}'.encode())
    of_b = detail + 2 * len(LARGE)
    assert sizes == {
        "none": SOURCE_BYTES,
        "a": SOURCE_BYTES + of_a,
        "b": SOURCE_BYTES + of_b,
        "both": SOURCE_BYTES + of_a + of_b,
    }


async def test_a_rerun_of_a_rerun_names_the_execution_in_which_a_node_ran(
    database: Database,
) -> None:
    await run(database, "source", failure_of="first failure")
    again = submission("again", rerun_of="source", reused_nodes=("a",))
    await database.submissions.submit(again)
    await database.journal.finish(await claim(database), 4, FAILED)
    third = submission("third", rerun_of="again", reused_nodes=("a",))
    await database.submissions.submit(third)
    found = {row.id: row.reusedFrom for row in await rows(database, logs)}
    assert (found["again:a"], found["third:a"], found["source:a"]) == ("source", "source", None)
    of = {row.executionId: (row.rerunOf, row.failureOf) for row in await rows(database, runs)}
    assert of == {
        "source": (None, "first failure"),
        "again": ("source", "first failure"),
        "third": ("again", "first failure"),
    }


async def test_a_past_run_has_the_outcomes_of_its_nodes_and_its_own_document(
    database: Database,
) -> None:
    await run(database, "source", trigger_type="webhook")
    other = replace(submission("other"), document='{"other": 1}')
    await database.submissions.submit(other)
    past = await database.queries.past_run("source")
    assert (past.status, past.document, past.inputs) == ("failed", "{}", '"é"')
    assert past.trigger_type == "webhook"
    outcomes = {str(key): outcome.status for key, outcome in past.outcomes.items()}
    assert outcomes == {**dict.fromkeys("abc", "completed"), "d": "skipped"}
    assert (await database.definitions.read("other")).document == '{"other": 1}'
    foreign = {"id": "foreign", "workflowId": "w", "status": "failed"}
    await write(database, executions.insert().values(**foreign))
    for unknown in ("foreign", "unknown"):
        with pytest.raises(ExecutionNotFoundError):
            await database.queries.past_run(unknown)
        with pytest.raises(ExecutionNotFoundError):
            await database.definitions.read(unknown)
