"""Calls of subworkflows and single-node runs: which are rejected, and what the others contain."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from database.executions.child_executions import CallingExecution
from database.executions.inline_workflows import INLINE_WORKFLOW
from database.records import Workflow
from engine.errors import (
    PermanentError,
    StorageUnavailableError,
    TooManyPreviewsError,
    UnknownNodeTypeError,
    WorkflowNotFoundError,
)
from flows.nodes import preview as preview_module
from flows.nodes.node_runner import NodeRunner
from flows.nodes.preview import NodePreview, NodePreviews, run_preview
from flows.nodes.result import NodeResult
from flows.nodes.subworkflows import SubworkflowCaller
from tasks.context import HandlerSettings
from tasks.registry import DEFAULT
from tests.support.documents import document, node
from tests.support.scripted_database import ScriptedDatabase
from tests.support.virtual_time import in_virtual_time

MAX_DEPTH, MAX_EXECUTIONS = 3, 10
TEXT = json.dumps(
    document(node("one", "trigger"), node("two", "trigger"), node("m", "manualInput"))
)

Patch = pytest.MonkeyPatch


def result_of(**call: Any) -> NodeResult:
    park = {"call": {"workflowId": "w", **call}, "until": None}
    return NodeResult("null", json.dumps({"park": park}), {"park": park})


class Calls:
    """The calls of an execution of the organization ``mine`` whose workflow ``shared`` owns."""

    def __init__(self, *, depth: int = 0, called: int = 0, **answers: list[Any]) -> None:
        caller = CallingExecution("mine", "shared", depth, "root", called)
        answers.setdefault("queries__workflow", [Workflow("w", "Called", TEXT, "mine")])
        answers.setdefault("child_executions__caller", [caller])
        answers.setdefault("child_executions__chain", [[("Root", "r"), ("Middle", "m")]])
        self.database = ScriptedDatabase(**answers)
        self.database.add("queries")
        self.caller = SubworkflowCaller(self.database.typed, DEFAULT, MAX_DEPTH, MAX_EXECUTIONS)

    async def prepare(self, attempt: int = 1, node_id: str = "n", **call: Any) -> NodeResult:
        return await self.caller.prepare("e", node_id, attempt, result_of(**call))

    async def error(self) -> str:
        with pytest.raises(PermanentError) as error:
            await self.prepare()
        return str(error.value)


async def test_a_result_without_a_call_is_unchanged() -> None:
    calls = Calls()
    result = NodeResult("1", None, {"park": {"until": None}})
    assert await calls.caller.prepare("e", "n", 1, result) is result
    assert calls.database.calls == []


async def test_a_called_workflow_is_the_child_of_its_caller() -> None:
    prepared = await Calls(depth=1).prepare(inputs={"m": 1})
    assert prepared.child is not None
    submission = prepared.child.submission
    assert (prepared.child.depth, prepared.child.root_id) == (2, "root")
    assert (submission.workflow_id, submission.workflow_name) == ("w", "Called")
    # The organization of the execution, and not the one of its workflow, pays for the child.
    assert submission.organization_id == "mine"
    assert submission.inputs == '{"m":1}'
    reference = {"call": {"workflowId": "w", "executionId": submission.execution_id}, "until": None}
    assert prepared.result["park"] == reference
    assert json.loads(prepared.detail or "") == {"park": reference}


async def test_each_attempt_of_a_node_has_its_own_child_and_a_repetition_has_the_same() -> None:
    async def child(**values: Any) -> str:
        prepared = await Calls().prepare(**values)
        assert prepared.child is not None
        return prepared.child.submission.execution_id

    assert await child() == await child()
    assert len({await child(), await child(attempt=2), await child(node_id="m")}) == 3


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ({}, None),
        ({"payload": 7}, {"one": 7, "two": 7}),
        ({"payload": 7, "inputs": {"m": 1}}, {"m": 1}),
        ({"inputs": {}}, {}),
    ],
)
async def test_a_payload_reaches_every_trigger_unless_there_are_inputs(
    call: dict[str, Any], inputs: Any
) -> None:
    prepared = await Calls().prepare(**call)
    assert prepared.child is not None
    stored = prepared.child.submission.inputs
    assert (None if stored is None else json.loads(stored)) == inputs


@pytest.mark.parametrize(
    ("organization", "workflow_id", "found"),
    [
        ("mine", "w", True),
        ("shared", "w", True),
        ("foreign", "w", False),
        (None, "w", False),
        ("mine", INLINE_WORKFLOW, False),
    ],
)
async def test_only_workflows_of_the_same_organization_can_be_called(
    organization: str | None, workflow_id: str, found: bool
) -> None:
    calls = Calls(queries__workflow=[Workflow(workflow_id, "Called", TEXT, organization)])
    if found:
        assert (await calls.prepare(workflowId=workflow_id)).child is not None
        return
    with pytest.raises(PermanentError) as error:
        await calls.prepare(workflowId=workflow_id)
    # The message is the same as for a workflow that does not exist.
    assert str(error.value) == str(WorkflowNotFoundError(workflow_id))
    missing = Calls(queries__workflow=[WorkflowNotFoundError("w")])
    assert await missing.error() == str(WorkflowNotFoundError("w"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": MAX_DEPTH - 1, "called": MAX_EXECUTIONS - 1}, None),
        ({"depth": MAX_DEPTH}, "'Root' (r) → 'Middle' (m) → 'Called' (w)"),
        ({"called": MAX_EXECUTIONS}, "MAX_SUBWORKFLOW_EXECUTIONS"),
    ],
)
async def test_the_depth_and_the_number_of_calls_are_limited(
    values: dict[str, int], message: str | None
) -> None:
    calls = Calls(**cast("Any", values))
    if message is None:
        assert (await calls.prepare()).child is not None
    else:
        assert message in await calls.error()


async def test_a_workflow_that_cannot_run_is_named_in_the_error() -> None:
    invalid = Workflow("w", "Called", json.dumps(document(node("a", "unknownType"))), "mine")
    error = await Calls(queries__workflow=[invalid]).error()
    assert "'Called' (w) cannot be called" in error
    assert "unknownType" in error


@in_virtual_time
async def test_a_call_waits_until_the_database_is_available() -> None:
    busy = StorageUnavailableError("busy")
    workflow = Workflow("w", "Called", TEXT, "mine")
    calls = Calls(
        queries__workflow=[busy, workflow],
        child_executions__caller=[busy, CallingExecution("mine", None, 0, "root", 0)],
    )
    assert (await calls.prepare()).child is not None


# Single-node runs


class Previews:
    """Single-node runs, two at a time, that end when the test sets their events."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Event] = []
        runner = NodeRunner(DEFAULT, HandlerSettings())
        self.previews = NodePreviews(self._submit, runner, 2, self._run)

    def _submit(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
        future: Future[None] = Future()
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda _: future.cancelled() or future.set_result(None))
        return future

    async def _run(self, preview: NodePreview) -> None:
        end = asyncio.Event()
        self.ends.append(end)
        await end.wait()
        preview.result = {"ran": preview.node.id}

    async def run(
        self, node_id: str = "n", node_type: str = "output", **fields: Any
    ) -> NodePreview:
        return await self.previews.preview_node(node_id, node_type, fields, {"in": 1})


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_single_node_runs_are_limited_and_free_their_place_at_the_end() -> None:
    previews = Previews()
    running = [asyncio.ensure_future(previews.run(name)) for name in "ab"]
    await settle()
    with pytest.raises(TooManyPreviewsError):
        await previews.run("c")
    previews.ends[0].set()
    found = await running[0]
    assert (found.result, found.error, found.input_data) == ({"ran": "a"}, None, {"in": 1})
    third = asyncio.ensure_future(previews.run("c"))
    await settle()
    assert len(previews.ends) == 3
    for end in previews.ends:
        end.set()
    await asyncio.gather(*running, third)


async def test_a_node_whose_client_has_left_keeps_its_place_until_it_ends() -> None:
    previews = Previews()
    running = [asyncio.ensure_future(previews.run(name)) for name in "ab"]
    await settle()
    running[0].cancel()
    await settle()
    with pytest.raises(TooManyPreviewsError):
        await previews.run("c")
    previews.ends[0].set()
    await settle()
    third = asyncio.ensure_future(previews.run("c"))
    await settle()
    for end in previews.ends:
        end.set()
    await asyncio.gather(running[1], third)


async def test_an_invalid_node_does_not_run() -> None:
    previews = Previews()
    with pytest.raises(UnknownNodeTypeError):
        await previews.run("n", "unknownType")
    running = asyncio.ensure_future(previews.run("n", "output", config={"timeoutSeconds": "x"}))
    await asyncio.wait([running], timeout=20)
    found = running.result()
    assert found.error is not None
    assert "timeoutSeconds" in found.error
    assert found.result is None
    assert previews.ends == []


@pytest.mark.parametrize(
    ("ended", "message", "error"),
    [
        ({"result": {}}, "unused", None),
        ({"error": "it went wrong"}, "unused", "it went wrong"),
        ({}, "the run was cancelled", "the run was cancelled"),
        ({}, None, "Prefect ended the preview"),
    ],
)
async def test_a_single_node_run_that_prefect_ends_has_an_error(
    ended: dict[str, Any], message: str | None, error: str | None, monkeypatch: Patch
) -> None:
    names: list[Any] = []

    async def run_flow(_: Any, execution_id: str, name: str, *, argument: NodePreview) -> Any:
        names.append((execution_id, name))
        for field, value in ended.items():
            setattr(argument, field, value)
        return SimpleNamespace(message=message)

    monkeypatch.setattr(preview_module, "run_flow", run_flow)
    preview = (await previews_of_one()).node
    one = NodePreview(preview, None, NodeRunner(DEFAULT, HandlerSettings()))
    await run_preview(one)
    assert one.error == error
    assert names == [("n", "try n")]


async def previews_of_one() -> NodePreview:
    """Return the ended run of a valid node."""
    previews = Previews()
    running = asyncio.ensure_future(previews.run("n"))
    await settle()
    previews.ends[0].set()
    return await running


async def test_a_single_node_run_without_a_server_has_an_error(monkeypatch: Patch) -> None:
    async def run_flow(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no server")

    monkeypatch.setattr(preview_module, "run_flow", run_flow)
    one = NodePreview((await previews_of_one()).node, None, NodeRunner(DEFAULT, HandlerSettings()))
    await run_preview(one)
    assert one.error is not None
    assert "PREFECT_API_URL" in one.error
