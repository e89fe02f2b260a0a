"""Payloads: large values are stored once, and are deleted with the last execution of them."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from database import Database
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeStarted,
    RecordedStep,
)
from database.maintenance.retention import delete_executions
from database.payloads import MAX_EXECUTION_TEXT_CHARACTERS, MAX_NODE_TEXT_CHARACTERS, LargeValue
from database.queries.log_pages import LogPageRequest
from database.tables import chunks, executions, logs, payload_parts, payload_uses, payloads
from engine.document import Node
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from engine.redaction import HIDDEN
from engine.status import ExecutionStatus, NodeStatus
from tests.support.call_trees import claim, submission
from tests.support.stored_executions import BEGUN

SMALL = json.dumps("x" * (MAX_NODE_TEXT_CHARACTERS - 2))
NODES = [Node(f"n{i}", "comment", f"N{i}", {}) for i in range(10)]
NUMBERS = Random(7)


def letters(count: int) -> str:
    return "".join(NUMBERS.choices("abcdefghijklmnopqrstuvwxyz é", k=count))


BIG = json.dumps({"text": letters(1_000_000)}, ensure_ascii=False)


async def run(
    database: Database, execution_id: str, outputs: list[str], *, inputs: str | None = None
) -> None:
    """Run a line of nodes with these outputs, one step for each, from submission to the end."""
    new = replace(submission(execution_id), inputs=inputs, total_nodes=len(outputs))
    await database.submissions.submit(new)
    lease = await claim(database)
    seq, parent = BEGUN, inputs or "null"
    ended: list[NodeEnded] = []
    for node, output in zip(NODES, outputs, strict=False):
        started = NodeChanges(ended, started=[NodeStarted(node, parent, 1, resumed=False)])
        record = database.journal.record_step
        seq = await record(lease, seq, Progress(len(outputs), 0, 0, 0), node.id, started)
        ended, parent = [NodeEnded(node.id, NodeStatus.COMPLETED, 1, output, '{"a":1}')], output
    results = ",".join(
        f'"{node.id}":{{"outputData":{output}}}'
        for node, output in zip(NODES, outputs, strict=False)
    )
    progress = Progress(len(outputs), len(outputs), 0, 0)
    done = ExecutionResult(ExecutionStatus.COMPLETED, progress, None, f"{{{results}}}", outputs[-1])
    await database.journal.finish(lease, seq, done, NodeChanges(ended))


async def rows(database: Database, query: Any) -> list[Any]:
    return await database._access.reader.run(
        lambda connection: list(connection.execute(query).all())
    )


async def stored_characters(database: Database) -> int:
    """Return the size of all values in the database."""
    columns = [
        *(logs.c[name] for name in ("inputData", "outputData")),
        *(executions.c[name] for name in ("inputs", "nodeResults", "finalOutput")),
        chunks.c.text,
        payloads.c.preview,
    ]
    sizes = [await rows(database, select(func.sum(func.length(column)))) for column in columns]
    return sum(size or 0 for ((size,),) in sizes)


async def counts(database: Database) -> list[int]:
    found = [
        await rows(database, select(func.count()).select_from(table))
        for table in (payloads, payload_parts, chunks, payload_uses)
    ]
    return [count for ((count,),) in found]


async def test_a_value_that_passes_through_ten_nodes_is_stored_once(database: Database) -> None:
    await run(database, "e", [BIG] * 10, inputs=BIG)
    assert await stored_characters(database) < 1.3 * len(BIG)
    found = await database.queries.logs("e")
    assert [log.output_data.text for log in found if log.output_data] == [BIG] * 10
    assert [log.input_data.text for log in found if log.input_data] == [BIG] * 10
    execution = await database.queries.execution("e", 10**9)
    assert execution.final_output is not None
    assert execution.final_output.text == BIG
    assert await database.find_violations(service_runs=True) == []


async def test_a_value_inside_growing_objects_is_stored_once(database: Database) -> None:
    value = json.loads(BIG)
    outputs = [
        json.dumps({"a": i} | value | {f"f{j}": j for j in range(i)}, ensure_ascii=False)
        for i in range(10)
    ]
    await run(database, "e", outputs)
    # Each object has a first and a last chunk of its own.
    assert await stored_characters(database) < 2.5 * len(BIG)
    found = await database.queries.logs("e")
    assert [log.output_data.text for log in found if log.output_data] == outputs


async def test_small_values_stay_in_their_columns(database: Database) -> None:
    assert len(SMALL) == MAX_NODE_TEXT_CHARACTERS
    medium = json.dumps("y" * (MAX_NODE_TEXT_CHARACTERS - 1))
    await run(database, "e", [SMALL, medium], inputs=SMALL)
    stored = await rows(database, select(logs.c.outputData).order_by(logs.c.seq))
    assert stored[0].outputData == SMALL
    digest = sha256(medium.encode()).hexdigest()
    assert json.loads(stored[1].outputData) == {"orchestratorPayload": digest}
    # The columns of the execution, which the main project's backend shows, hold more.
    ((final, results),) = await rows(
        database, select(executions.c.finalOutput, executions.c.nodeResults)
    )
    assert final == medium
    assert json.loads(results)["n1"]["outputData"] == json.loads(medium)
    assert len(results) < MAX_EXECUTION_TEXT_CHARACTERS


async def test_a_value_that_looks_like_a_reference_is_returned_unchanged(
    database: Database,
) -> None:
    await run(database, "big", [BIG])
    ((digest,),) = await rows(database, select(payloads.c.hash).limit(1))
    fake = json.dumps({"orchestratorPayload": digest}, separators=(",", ":"))
    await run(database, "e", [fake, BIG], inputs=fake)
    found = await database.queries.logs("e")
    assert [log.output_data.text for log in found if log.output_data] == [fake, BIG]
    past = await database.queries.past_run("e")
    assert past.inputs == fake
    # A row of another program, with the payload of an execution that is not its own.
    statement = (
        'INSERT INTO execution_logs(id, "executionId", "nodeId", status, "outputData")'
        " VALUES ('theirs', 'other', 'n', 'completed', :fake)"
    )

    def insert(connection: Any) -> None:
        other = {"id": "other", "workflowId": "w", "status": "completed"}
        connection.execute(executions.insert(), other)
        connection.execute(text(statement), {"fake": fake})

    await database._access.writer.run(insert)
    (theirs,) = await database.queries.logs("other")
    assert theirs.output_data is not None
    assert theirs.output_data.text == fake


async def test_a_poll_reads_the_start_and_the_size_of_a_large_value(database: Database) -> None:
    await run(database, "e", [BIG])
    (log,) = await database.queries.logs("e", last=1, cut_at=100)
    assert log.output_data is not None
    assert (log.output_data.text, log.output_data.size) == (BIG[:100], len(BIG))
    assert log.output_data.cut
    wanted = LogPageRequest("e", 0, 10, 10, max_payload=0)
    (log,) = (await database.log_pages.read(wanted)).logs
    assert log.output_data is not None
    assert (log.output_data.text, log.output_data.size) == ("", len(BIG))
    execution = await database.queries.execution("e", 50_000)
    assert execution.final_output is not None
    assert execution.final_output.text == BIG[:8_192]
    assert execution.final_output.size == len(BIG)


async def test_deferred_steps_hide_and_store_large_values(database: Database) -> None:
    hidden = Node("n0", "comment", "N", {"hideData": True})
    await database.submissions.submit(replace(submission("e"), total_nodes=2))
    lease = await claim(database)
    begun = NodeChanges(started=[NodeStarted(hidden, BIG, 1, resumed=False)])
    changes = NodeChanges(
        [NodeEnded("n0", NodeStatus.COMPLETED, 1, BIG)],
        started=[NodeStarted(NODES[1], BIG, 1, resumed=False)],
        earlier=[RecordedStep("2026-01-01T00:00:00.000Z", begun, Progress(2, 0, 0, 0))],
    )
    await database.journal.record_step(lease, BEGUN, Progress(2, 1, 0, 0), "n1", changes)
    first, second = await database.queries.logs("e")
    assert first.input_data is not None
    assert json.loads(first.input_data.text) == HIDDEN
    assert [log.text for log in (first.output_data, second.input_data) if log] == [BIG, BIG]
    state = await database.journal.load(lease)
    outcome = state.outcomes[NodeRunKey("n0")]
    assert outcome.result["outputData"] == json.loads(BIG)


async def test_a_payload_is_deleted_with_its_last_execution(database: Database) -> None:
    other = json.dumps({"text": letters(100_000)}, ensure_ascii=False)
    await run(database, "first", [BIG, other])
    await run(database, "second", [BIG])
    again = replace(
        submission("again"),
        rerun_of="second",
        reused_nodes=("n0",),
        progress=Progress(1, 1, 0, 0),
    )
    await database.submissions.submit(again)
    ((size,),) = await rows(
        database, text('SELECT "storedBytes" FROM orchestrator_runs WHERE "executionId"=\'again\'')
    )
    assert size == 2 * len(BIG.encode()) + len("null") + len('{"a":1}')
    # Besides the value, the first two have node results that are large.
    for execution_id, expected in (("first", 2), ("second", 1), ("again", 0)):
        await database._access.writer.run(
            lambda connection, e=execution_id: delete_executions(connection, [e])
        )
        assert (await counts(database))[0] == expected
        assert await database.find_violations(service_runs=True) == []
        if execution_id == "second":
            (log,) = await database.queries.logs("again")
            assert log.output_data is not None
            assert log.output_data.text == BIG
    assert await counts(database) == [0, 0, 0, 0]


async def test_payloads_of_executions_that_another_program_deleted_are_deleted(
    database: Database,
) -> None:
    await run(database, "e", [BIG])
    kept = json.dumps("z" * 20_000)
    await run(database, "stays", [kept])
    statement = "DELETE FROM workflow_executions WHERE id='e'"
    if database._url.startswith("sqlite"):
        # As a program that does not enforce foreign keys, so that the uses remain.
        with closing(sqlite3.connect(database._url.partition(":///")[2])) as other, other:
            other.execute(statement)
    else:
        await database._access.writer.run(lambda connection: connection.execute(text(statement)))
    await database.retention.delete_unused_payloads()
    assert await counts(database) == [1, 2, 2, 1]  # its first chunk ends at the quote
    (log,) = await database.queries.logs("stays")
    assert log.output_data is not None
    assert log.output_data.text == kept


async def test_the_view_contains_the_text(database: Database) -> None:
    await run(database, "e", [BIG])
    as_json = '("outputData"::json)' if database._url.startswith("postgresql") else '"outputData"'
    query = text(
        "SELECT t.text, t.characters FROM execution_logs l JOIN orchestrator_payload_texts t"
        f" ON t.hash = {as_json} ->> 'orchestratorPayload' WHERE l.\"executionId\" = 'e'"
    )
    assert await rows(database, query) == [(BIG, len(BIG))]


@given(st.text(st.sampled_from('"\\ab{}:,[]é'), max_size=60), st.integers(1, 4_000))
def test_chunks_are_the_parts_of_the_text(part: str, times: int) -> None:
    json_text = part * times + '"outputData":' + part
    value = LargeValue.of(json_text)
    assert "".join(chunk for _, chunk in value.chunks) == json_text
    assert value.bytes == len(json_text.encode())
