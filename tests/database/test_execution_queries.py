"""Execution queries: the fields of executions, node runs, polls and lists, also of foreign rows."""

from typing import Any

import pytest

from database import Database
from database.queries.polls import Poll, PollRequest
from database.queries.results import (
    CurrentNode,
    Execution,
    ExecutionFilter,
    ExecutionSummary,
    NodeLog,
    WorkflowCursor,
    WorkflowSummary,
)
from database.records import Payload, Workflow
from database.tables import children, executions, logs, workflows
from engine.errors import ExecutionNotFoundError, WorkflowNotFoundError
from engine.node_run_key import NodeRunKey
from engine.outcome import Progress
from tests.support.call_trees import LEASE, write
from tests.support.changed_rows import insert, set_execution, set_run, submit
from tests.support.fake_clock import MovingClock

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

CREATED = "2026-01-01T00:00:00.000Z"


def node_row(execution_id: str, node_id: str, **values: Any) -> dict[str, Any]:
    key = {"id": f"{execution_id}:{node_id}", "executionId": execution_id, "nodeId": node_id}
    return {**key, "status": "completed", **values}


FULL_ROW: dict[str, Any] = {
    "nodeType": "http",
    "nodeLabel": "Call",
    "inputData": '"input"',
    "outputData": '"output"',
    "error": "broke",
    "lastError": "broke before",
    "duration": 7,
    "timestamp": "t1",
    "startedAt": "t2",
    "endedAt": "t3",
    "waitedMs": 5,
    "waitingSince": "t4",
    "attempt": 3,
    "seq": 9,
    "startSeq": 8,
    "waitUntil": "t5",
    "reusedFrom": "earlier",
    "childExecutionId": "child",
    "nodePercentage": 40,
    "nodeMessage": "almost",
    "resultDetail": '{"message": "Pay?"}',
}


async def test_an_execution_has_all_its_fields(database: Database) -> None:
    await submit(database, "other", "parent")
    await submit(database, "e", organization_id="org", failure_of="other")
    await set_execution(
        database,
        "e",
        status="running",
        startedAt="t1",
        completedAt="t2",
        currentNodeId="n",
        error="broke",
        finalOutput='"final"',
        nodeResults='"results"',
    )
    counts = {"totalNodes": 9, "completedNodes": 4, "failedNodes": 3, "skippedNodes": 2}
    links = {"flowRunId": "flow", "rerunOf": "earlier", "cancelRequestedAt": "t3"}
    await set_run(database, "e", seq=11, **counts, **links)
    await insert(
        database,
        children,
        {"executionId": "e", "parentId": "parent", "nodeRunId": "parent:call:1", "depth": 1}
        | {"rootId": "parent"},
    )
    await insert(database, logs, node_row("e", "n", **FULL_ROW), node_row("other", "n"))
    found = await database.queries.execution("e", 5)
    assert found == Execution(
        id="e",
        workflow_id="w",
        organization_id="org",
        status="running",
        created_at=CREATED,
        started_at="t1",
        completed_at="t2",
        current_node_id="n",
        current_node=CurrentNode("n", "http", "Call", "t1", 3, 40, "almost"),
        error="broke",
        final_output=Payload('"fina', 7, cut=True),
        progress=Progress(9, 4, 3, 2),
        seq=11,
        flow_run_id="flow",
        rerun_of="earlier",
        cancel_requested=True,
        parent_execution_id="parent",
        parent_node_id="call:1",
        failure_of="other",
    )
    whole = await database.queries.execution("e", 7)
    assert whole.final_output == Payload('"final"', 7)
    assert (await database.queries.execution("e")).final_output is None
    assert await database.queries.organization_of("e") == "org"
    assert await database.queries.organization_of("other") is None
    for read in (database.queries.execution, database.queries.organization_of):
        with pytest.raises(ExecutionNotFoundError):
            await read("unknown")


async def test_a_workflow_has_the_fields_of_its_own_row(database: Database) -> None:
    own = {"organizationId": "org", "tags": "[1]", "createdAt": "t1", "updatedAt": "t2"}
    await insert(database, workflows, {"id": "x", "name": "X", "data": '{"n": 1}', **own})
    found = await database.queries.workflow("x")
    assert found == Workflow("x", "X", '{"n": 1}', "org", "[1]", "t1", "t2")
    assert (await database.queries.workflow("w")).name == "A workflow"
    for unknown in ("y", "w\0"):
        with pytest.raises(WorkflowNotFoundError):
            await database.queries.workflow(unknown)


async def test_a_row_of_another_program_has_the_initial_values(database: Database) -> None:
    await insert(
        database,
        executions,
        {"id": "foreign", "workflowId": "w", "status": None, "currentNodeId": "n"},
    )
    await insert(database, logs, {"id": "x", "executionId": "foreign"})
    found = await database.queries.execution("foreign")
    assert (found.status, found.progress, found.seq) == ("pending", Progress(0, 0, 0, 0), 0)
    assert found.current_node == CurrentNode("n", None, None, None, 1, None, None)
    assert (found.cancel_requested, found.parent_node_id) == (False, None)
    (log,) = await database.queries.logs("foreign")
    assert (log.node_id, log.status, log.attempt, log.seq) == (None, None, 1, 0)
    with pytest.raises(ExecutionNotFoundError):
        await database.queries.past_run("foreign")


async def test_a_node_run_has_all_its_fields(database: Database) -> None:
    await submit(database, "e")
    await insert(database, logs, node_row("e", "n", **FULL_ROW))
    (found,) = await database.queries.logs("e")
    assert found == NodeLog(
        node_id="n",
        node_type="http",
        node_label="Call",
        status="completed",
        input_data=Payload('"input"', 7),
        output_data=Payload('"output"', 8),
        error="broke",
        last_error="broke before",
        duration=7,
        timestamp="t1",
        started_at="t2",
        ended_at="t3",
        waited_ms=5,
        waiting_since="t4",
        attempt=3,
        seq=9,
        wait_until=None,
        waiting_for=None,
        reused_from="earlier",
        child_execution_id="child",
        percentage=None,
        message=None,
    )
    (cut,) = await database.queries.logs("e", cut_at=7)
    assert cut.input_data == Payload('"input"', 7)
    assert cut.output_data == Payload('"output', 8, cut=True)


@pytest.mark.parametrize(
    ("node_type", "status", "shown"),
    [
        ("http", "running", (40, "almost", None)),
        ("http", "waiting", (None, "Pay?", "t5")),
        ("forEach", "waiting", (40, "almost", "t5")),
        ("forEach", "completed", (None, None, None)),
        ("http", "error", (None, None, None)),
    ],
)
async def test_progress_and_questions_are_shown_while_they_are_current(
    database: Database, node_type: str, status: str, shown: tuple[object, ...]
) -> None:
    await submit(database, "e")
    row = {**FULL_ROW, "nodeType": node_type, "status": status}
    await insert(database, logs, node_row("e", "n", **row))
    (log,) = await database.queries.logs("e")
    assert (log.percentage, log.message, log.wait_until) == shown


async def test_the_last_node_runs_are_in_the_order_of_their_start(database: Database) -> None:
    await submit(database, "e", "other")
    await insert(
        database,
        logs,
        node_row("e", "c", startSeq=2, timestamp="1"),
        node_row("e", "b", startSeq=1, timestamp="3"),
        node_row("e", "a", startSeq=1, timestamp="2"),
        node_row("e", "y", startSeq=None, timestamp="9"),
        node_row("e", "x", startSeq=None, timestamp="9"),
        node_row("other", "z", startSeq=9),
    )
    order = ["x", "y", "a", "b", "c"]
    assert [log.node_id for log in await database.queries.logs("e")] == order
    for last in (5, 2, 1):
        found = await database.queries.logs("e", last=last)
        assert [log.node_id for log in found] == order[-last:]


async def test_a_rerun_reads_the_outcomes_of_its_own_nodes(database: Database) -> None:
    await submit(database, "other")
    await submit(database, "e", organization_id="org", document='{"own": 1}')
    await set_execution(database, "e", status="failed", inputs='{"n": 1}', triggerType=None)
    await insert(
        database,
        logs,
        node_row("e", "done", outputData='"out"', resultDetail="{}", seq=2),
        node_row("e", "failed", status="error", error="broke", seq=1),
        node_row("e", "runs", status="running", seq=3),
        {**node_row("e", "copy", seq=4), "id": "a row of another program"},
        node_row("other", "done"),
    )
    found = await database.queries.past_run("e")
    assert (found.execution_id, found.status, found.workflow_id) == ("e", "failed", "w")
    assert (found.workflow_name, found.organization_id) == ("A workflow", "org")
    assert (found.document, found.inputs, found.trigger_type) == (
        '{"own": 1}',
        '{"n": 1}',
        "manual",
    )
    assert list(found.outcomes) == [NodeRunKey("failed"), NodeRunKey("done")]
    assert found.outcomes[NodeRunKey("done")].output == "out"


# Polls


async def poll(database: Database, **values: Any) -> Poll:
    return await database.polls.read(PollRequest("e", LEASE, **values))


async def test_a_poll_has_the_parts_that_it_requests(database: Database) -> None:
    await submit(database, "other")
    await submit(database, "e", callback_url="http://a.example/")
    await set_execution(database, "e", finalOutput='"final"', nodeResults='"results"')
    await insert(
        database,
        logs,
        *(node_row("e", name, startSeq=i, outputData='"12345"') for i, name in enumerate("abc")),
    )
    state = (await poll(database)).state
    assert state is not None
    assert (state.queue_position, state.execution.final_output) == (2, None)
    assert [log.node_id for log in state.logs] == ["a", "b", "c"]
    assert state.callback is not None
    assert (state.callback.url, state.callback.attempts) == ("http://a.example/", 0)
    state = (
        await poll(database, last=2, cut_at=3, output_characters=9, results_characters=4)
    ).state
    assert state is not None
    assert [log.output_data for log in state.logs] == [Payload('"12', 7, cut=True)] * 2
    assert state.execution.final_output == Payload('"final"', 7)
    assert state.execution.node_results == Payload('"res', 9, cut=True)
    with pytest.raises(ExecutionNotFoundError):
        await database.polls.read(PollRequest("unknown", LEASE))


async def test_a_known_version_is_not_sent_again_until_something_changes(
    database: Database,
) -> None:
    await submit(database, "other")
    await submit(database, "e", callback_url="http://a.example/")
    known = {(await poll(database)).version}

    async def changed(**values: Any) -> bool:
        found = await poll(database, is_known=known.__contains__, **values)
        assert (found.state is None) == (found.version in known)
        is_new = found.version not in known
        known.add(found.version)
        return is_new

    assert not await changed()
    assert await changed(output_characters=1)
    assert await changed(results_characters=1)
    await database.queue.request_cancel("other")  # the position in the queue
    assert await changed()
    (run,) = await database.queue.claim("me", 9, LEASE)
    assert await changed()
    await database.queue.link_flow_run(run.lease, "flow")
    assert await changed()
    await database.queue.request_cancel("e")
    assert await changed()
    await database.queue.renew("me", ["e"], 2 * LEASE)
    assert not await changed()


# Lists


async def test_an_item_of_the_list_has_all_its_fields(database: Database) -> None:
    await submit(database, "parent", "other")
    await submit(database, "e", organization_id="org", rerun_of=None, trigger_type="webhook")
    await set_run(database, "e", workflowName="Old name", rerunOf="other")
    await set_execution(database, "e", status="failed", startedAt="t1", completedAt="t2", error="x")
    call = {"parentId": "parent", "nodeRunId": "parent:call", "depth": 1, "rootId": "parent"}
    await insert(database, children, {"executionId": "e", **call})
    (item,) = (await database.listings.executions(ExecutionFilter(parent_id="parent"), 9)).items
    assert item == ExecutionSummary(
        id="e",
        workflow_id="w",
        workflow_name="Old name",
        organization_id="org",
        status="failed",
        trigger_type="webhook",
        created_at=CREATED,
        started_at="t1",
        completed_at="t2",
        error="x",
        rerun_of="other",
        parent_execution_id="parent",
    )
    await insert(database, executions, {"id": "foreign", "workflowId": "w", "status": "failed"})
    page = await database.listings.executions(ExecutionFilter(), 9)
    assert [item.workflow_name for item in page.items if item.id == "foreign"] == ["A workflow"]


async def test_the_executions_of_a_workflow_are_counted(database: Database) -> None:
    await insert(database, workflows, {"id": "x", "name": "X", "data": "{}"})
    await submit(database, "a", "b", organization_id="org")
    await submit(database, "c")
    await submit(database, "d", workflow_id="x")
    workflow, page, total = await database.listings.executions_of("w", 2)
    assert (workflow.id, [item.id for item in page.items], total) == ("w", ["c", "b"], 3)
    _, page, total = await database.listings.executions_of("w", 2, page.end)
    assert ([item.id for item in page.items], page.end, total) == (["a"], None, 3)
    _, page, total = await database.listings.executions_of("w", 9, organization_id="org")
    assert ([item.id for item in page.items], total) == (["b", "a"], 2)


async def test_pages_of_workflows_are_sorted_newest_first(
    database: Database, clock: MovingClock
) -> None:
    await write(database, workflows.delete())
    for number, name in enumerate(("d", "c", "b", "a")):
        row = {
            "id": name,
            "name": name,
            "data": "{}",
            "organizationId": "odd" if number % 2 else None,
        }
        created = {"createdAt": f"2026-0{1 + number // 2}", "updatedAt": "u", "tags": "[]"}
        await insert(database, workflows, row | created)
    await insert(database, workflows, {"id": "old", "name": "old", "data": "{}"})
    order = ["a", "b", "c", "d", "old"]  # two of each time, and one without a time
    for limit in (1, 2, 3, 4, 5, 6):
        found: list[str] = []
        after: WorkflowCursor | None = None
        while True:
            page = await database.listings.workflows(None, limit, after)
            assert len(page.items) == min(limit, len(order) - len(found))
            found += [item.id for item in page.items]
            after = page.end
            if after is None:
                break
        assert found == order
    own = await database.listings.workflows("odd", 9)
    assert own.items == [
        WorkflowSummary("a", "odd", "a", "[]", "2026-02", "u"),
        WorkflowSummary("c", "odd", "c", "[]", "2026-01", "u"),
    ]
