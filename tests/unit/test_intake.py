"""Intake: submissions, events, answers and failure workflows, without a service."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from database.executions.event_waits import DELIVERED, DELIVERING
from database.executions.human_tasks import Answer, Decision
from database.external_events.records import EventReceipt
from database.human_tasks.records import HumanTask
from database.records import Workflow
from engine.errors import InvalidDocumentError, QueueFullError
from engine.limits import DocumentLimits
from engine.parking import Resumption
from engine.request_errors import EventTooLargeError, InvalidAnswerError
from flows.intake import failure_workflows, submissions
from flows.intake.external_events import EventLimits, EventRequest, EventService
from flows.intake.failure_workflows import FailureStarts
from flows.intake.human_tasks import TaskService, check_answer
from flows.intake.submissions import (
    MAX_INLINE_DOCUMENT_CHARS,
    MAX_INLINE_NODES,
    SubmissionRequest,
    SubmissionService,
)
from flows.worker.worker import Worker
from tasks.registry import DEFAULT
from tests.support.documents import document, line, node
from tests.support.scripted_database import ScriptedDatabase

Patch = pytest.MonkeyPatch
INVALID = document(node("a", "unknownType"))

# Submissions


class Submissions:
    """A submission service whose database contains one workflow of the organization ``owner``."""

    def __init__(self, **answers: list[Any]) -> None:
        workflow = Workflow("w", "Saved", json.dumps(line(2)), "owner")
        self.database = ScriptedDatabase(**{"queries__workflow": [workflow], **answers})
        self.database.add("queries")
        self.database.add("submissions")
        self.database.answers.setdefault(
            "submissions.submit", [lambda found, *_: found.workflow_id]
        )
        self.wakes = 0
        worker = cast("Worker", SimpleNamespace(wake=self._wake))
        self.service = SubmissionService(self.database.typed, DEFAULT, worker, 7, 3)

    def _wake(self) -> None:
        self.wakes += 1

    @property
    def stored(self) -> list[Any]:
        return [arguments[0] for arguments in self.database.arguments["submissions.submit"]]


@pytest.mark.parametrize(("organization", "stored"), [(None, "owner"), ("mine", "mine")])
async def test_an_execution_of_a_saved_workflow_is_stored_and_claimed_at_once(
    organization: str | None, stored: str
) -> None:
    intake = Submissions()
    receipt = await intake.service.submit("w", SubmissionRequest(organization))
    assert (receipt.execution_id, receipt.workflow_id, receipt.workflow_name) == ("w", "w", "Saved")
    [arguments] = intake.database.arguments["submissions.submit"]
    assert arguments[1:] == (7, 3)
    submission = arguments[0]
    assert (submission.organization_id, submission.inputs) == (stored, None)
    assert (submission.unsaved, submission.idempotency) == (False, None)
    assert submission.total_nodes == 2
    assert intake.wakes == 1


async def test_an_inline_document_is_stored_under_its_name() -> None:
    intake = Submissions()
    request = SubmissionRequest("mine", {"a": 1}, callback_url="https://example.org")
    receipt = await intake.service.submit_inline(line(1), None, request)
    assert receipt.workflow_name == submissions.INLINE_WORKFLOW_NAME
    await intake.service.submit_inline(line(1), "Mine", request)
    assert [found.workflow_name for found in intake.stored] == [receipt.workflow_name, "Mine"]
    assert all(found.unsaved and found.callback_url for found in intake.stored)
    assert [found.inputs for found in intake.stored] == ['{"a":1}'] * 2


async def test_an_invalid_document_stores_nothing_and_has_a_pointer_into_the_request() -> None:
    saved = Submissions(queries__workflow=[Workflow("w", "W", json.dumps(INVALID), None)])
    with pytest.raises(InvalidDocumentError) as error:
        await saved.service.submit("w", SubmissionRequest())
    inline = Submissions()
    with pytest.raises(InvalidDocumentError) as within:
        await inline.service.submit_inline(INVALID, None, SubmissionRequest())
    pointer = error.value.problems[0].pointer
    assert within.value.problems[0].pointer == f"/graph{pointer}"
    assert saved.stored == inline.stored == []
    assert saved.wakes == inline.wakes == 0


def test_a_document_with_too_many_nodes_has_a_pointer_into_the_request() -> None:
    service = replace(Submissions().service, limits=DocumentLimits(nodes=2))
    service.check_size(line(2), "/workflow")
    with pytest.raises(InvalidDocumentError) as error:
        service.check_size(line(3), "/workflow")
    assert error.value.problems[0].pointer.startswith("/workflow/")


async def test_a_full_queue_wakes_no_worker() -> None:
    intake = Submissions(submissions__submit=[QueueFullError(7, "MAX_PENDING_EXECUTIONS")])
    with pytest.raises(QueueFullError):
        await intake.service.submit("w", SubmissionRequest())
    assert intake.wakes == 0


async def test_a_request_that_was_sent_before_is_answered_without_a_new_execution() -> None:
    intake = Submissions(submissions__find_by_key=["known"])
    receipt = await intake.service.submit("w", SubmissionRequest(idempotency_key="k"))
    assert receipt.execution_id == "known"
    assert (intake.stored, intake.wakes) == ([], 0)


async def test_requests_with_a_key_are_the_same_if_their_bodies_are() -> None:
    async def hash_of(inputs: Any = None, url: str | None = None, name: str | None = "W") -> str:
        intake = Submissions()
        request = SubmissionRequest("mine", inputs, "k", url)
        if name is None:
            await intake.service.submit("w", request)
        else:
            await intake.service.submit_inline(line(1), name, request)
        [submission] = intake.stored
        assert (submission.idempotency.organization, submission.idempotency.key) == ("mine", "k")
        return submission.idempotency.body_hash

    assert await hash_of({"a": 1, "b": 2}) == await hash_of({"b": 2, "a": 1})
    assert await hash_of({"a": 1}, name=None) == await hash_of({"a": 1}, name=None)
    hashes = [
        await hash_of(),
        await hash_of({}),
        await hash_of({"a": 1}),
        await hash_of(url="https://example.org"),
        await hash_of(name="V"),
        await hash_of(name=None),
        await hash_of(url="https://example.org", name=None),
    ]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("value", "threads"),
    [
        (line(MAX_INLINE_NODES), 0),
        (line(MAX_INLINE_NODES + 1), 1),
        (json.dumps(line(1)).ljust(MAX_INLINE_DOCUMENT_CHARS), 0),
        (json.dumps(line(1)).ljust(MAX_INLINE_DOCUMENT_CHARS + 1), 1),
    ],
)
async def test_only_large_documents_are_validated_in_a_thread(
    value: Any, threads: int, monkeypatch: Patch
) -> None:
    calls: list[Any] = []

    async def to_thread(function: Any, *arguments: Any) -> Any:
        calls.append(function)
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    graph = await Submissions().service.check_in_thread(value)
    assert len(calls) == threads
    assert graph.nodes


# Events


def receipt(status: str) -> EventReceipt:
    return EventReceipt("event", status, 0, "now", "later")


def events_of(max_bytes: int = 100, **answers: list[Any]) -> tuple[EventService, ScriptedDatabase]:
    answers.setdefault("external_events__accept", [receipt(DELIVERED)])
    database = ScriptedDatabase(**answers)
    return EventService(database.typed, EventLimits(60, 5, max_bytes)), database


def event(payload: Any = None, **values: Any) -> EventRequest:
    fields = {"organization_id": None, "name": "paid", "key": "1", "idempotency_key": None}
    return EventRequest(payload=payload, **(fields | values))


async def test_an_event_is_delivered_until_no_node_run_is_left() -> None:
    service, database = events_of(
        external_events__accept=[receipt(DELIVERING)],
        external_events__deliver=[receipt(DELIVERING), receipt(DELIVERED)],
    )
    assert (await service.accept(event())).status == DELIVERED
    assert database.arguments["external_events.deliver"] == [("event",), ("event",)]
    [(stored, seconds, count)] = database.arguments["external_events.accept"]
    assert (seconds, count) == (60, 5)
    assert (stored.organization, stored.payload, stored.idempotency) == ("", None, None)


async def test_the_limit_of_an_event_is_the_size_of_its_payload_in_bytes() -> None:
    payload = {"a": "é"}  # {"a":"é"} has 10 bytes
    service, database = events_of(10)
    await service.accept(event(payload))
    service, database = events_of(9)
    with pytest.raises(EventTooLargeError):
        await service.accept(event(payload))
    assert database.calls == []


async def test_events_with_a_key_are_the_same_if_their_contents_are() -> None:
    async def hash_of(**values: Any) -> str:
        service, database = events_of()
        await service.accept(event(**{"idempotency_key": "k", "payload": {"a": 1}, **values}))
        [(stored, *_)] = database.arguments["external_events.accept"]
        return stored.idempotency.body_hash

    same = [await hash_of(), await hash_of()]
    others = [
        await hash_of(name="other"),
        await hash_of(key="2"),
        await hash_of(payload=None),
        await hash_of(payload={"a": 2}),
        await hash_of(organization_id="mine"),
    ]
    assert same[0] == same[1]
    assert len({*same, *others}) == 6


# Answers to tasks

FORM = json.dumps({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})


@pytest.mark.parametrize(
    ("form", "approved", "data", "valid"),
    [
        (None, True, {"n": "x"}, True),
        (FORM, True, {"n": 1}, True),
        (FORM, True, {"n": "x"}, False),
        (FORM, True, None, False),
        (FORM, False, None, True),  # a rejection needs no data
        (FORM, False, {}, False),
        (FORM, False, {"n": "x"}, False),
    ],
)
async def test_the_data_of_an_answer_matches_the_form(
    form: str | None, approved: bool, data: Any, valid: bool
) -> None:
    if valid:
        await check_answer(form, approved=approved, data=data)
        return
    with pytest.raises(InvalidAnswerError):
        await check_answer(form, approved=approved, data=data)


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
async def test_only_the_deciding_answer_resumes_its_execution(decided: bool, is_open: bool) -> None:
    resumption = Resumption(approved=True) if decided else None
    database = ScriptedDatabase(human_tasks__complete=[Decision("e", "n", resumption)])
    database.add("human_tasks")
    notified: list[str] = []
    service = TaskService(database.typed, notified.append)
    # The data of an answer to an ended task does not matter, because it is rejected anyway.
    form = None if is_open else FORM
    task = cast("HumanTask", SimpleNamespace(id="t", is_open=is_open, form=form))
    await service.complete(task, Answer(approved=True))
    assert notified == (["e"] if decided else [])


# Failure workflows


def test_every_enabled_trigger_of_a_failure_workflow_gets_the_failure() -> None:
    nodes = (
        node("one", "trigger"),
        node("two", "trigger"),
        node("other", "manualInput"),
        node("end"),
    )
    text = json.dumps(document(*nodes, flow=("one -> end", "two -> end", "other -> end")))
    prepared = FailureStarts(DEFAULT).prepare(text, {"error": "x"})
    assert json.loads(prepared.inputs) == {"one": {"error": "x"}, "two": {"error": "x"}}
    assert prepared.total_nodes == len(nodes)
    with pytest.raises(InvalidDocumentError, match="no enabled 'trigger' node"):
        FailureStarts(DEFAULT).prepare(json.dumps(document(node("a", "manualInput"))), {})


def test_the_failure_workflow_that_was_used_least_recently_is_validated_again(
    monkeypatch: Patch,
) -> None:
    validated: list[str] = []
    validate = failure_workflows.read_and_validate

    def record(text: str, *arguments: Any) -> Any:
        validated.append(text)
        return validate(text, *arguments)

    monkeypatch.setattr(failure_workflows, "read_and_validate", record)
    monkeypatch.setattr(failure_workflows, "MAX_CACHED_DOCUMENTS", 2)
    starts = FailureStarts(DEFAULT)
    texts = {name: json.dumps(document(node(name, "trigger"))) for name in "abc"}
    for number, name in enumerate("abaca"):
        prepared = starts.prepare(texts[name], {"n": number})
        assert json.loads(prepared.inputs) == {name: {"n": number}}
    assert validated == [texts[name] for name in "abc"]
    starts.prepare(texts["b"], {})
    assert validated[3:] == [texts["b"]]
