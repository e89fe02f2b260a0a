"""Event broadcaster: foreign changes, deletions, and database errors."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.streaming import journal_tail
from database.queries.event_feed import EventFeed
from engine.errors import StorageBusyError
from tests.support.documents import document, line, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import (
    messages_until_end,
    seqs,
    sse,
    streamed_events,
    subscribe,
    websocket,
)

GATED = document(node("gate", "gate"), node("end"), flow=("gate -> end",))


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_tail, "SWEEP_INTERVAL_SECONDS", 0.2)


def test_a_client_is_notified_of_a_deleted_execution(
    sweeping: None, service: RunningService, gates: Gates
) -> None:
    execution_id = service.start(GATED)
    other = service.start(GATED)
    gates.wait_for("gate")
    with (
        sse(service, f"/api/executions/{execution_id}/stream") as single,
        sse(service, "/api/events", executionIds=f"{execution_id},{other}") as several,
        websocket(service) as client,
    ):
        subscribe(client, executionId=execution_id)
        firsts = [next(single), next(several), next(several)]
        assert all(first.data["snapshot"] for first in firsts)
        service.write("PRAGMA foreign_keys=ON")
        service.write("DELETE FROM orchestrator_runs WHERE executionId = ?", execution_id)
        service.write("DELETE FROM orchestrator_events WHERE executionId = ?", execution_id)
        service.write("DELETE FROM execution_logs WHERE executionId = ?", execution_id)
        service.write("DELETE FROM workflow_executions WHERE id = ?", execution_id)
        (last,) = list(single)
        assert (last.type, last.id, last.data["deleted"]) == ("execution_error", None, True)
        assert execution_id in last.data["error"]
        assert messages_until_end(client)[-1] == last.data
        gates.open("gate")
        rest = list(several)
        of_deleted = [event.data for event in rest if event.data["executionId"] == execution_id]
        assert of_deleted == [last.data]  # once, after any number of sweeps
        assert rest[-1].type == "execution_complete"


def test_an_end_set_by_another_program_is_streamed_before_a_worker_records_it(
    sweeping: None, service: RunningService
) -> None:
    approval = document(node("ask", "approval"))
    ids = [service.start(approval), service.start(approval)]
    for execution_id in ids:
        wait_until(lambda i=execution_id: service.poll(i)["status"] == "waiting")
    # With an owner, no worker of this service settles it and writes events of its own.
    service.write("UPDATE orchestrator_runs SET owner = 'other' WHERE executionId = ?", ids[0])
    with sse(service, "/api/events", executionIds=",".join(ids)) as events:
        assert [next(events).data["status"], next(events).data["status"]] == ["waiting"] * 2
        end_elsewhere(service, ids[0])
        foreign = next(events)
        assert (foreign.type, foreign.data["executionId"]) == ("execution_cancelled", ids[0])
        assert foreign.data["snapshot"] is True
        service.http.post(f"/api/executions/{ids[1]}/cancel")
        rest = list(events)
    assert {event.data["executionId"] for event in rest} == {ids[1]}
    assert rest[-1].type == "execution_cancelled"
    # A client that reconnects gets the events it missed, and the end.
    again = streamed_events(service, ids[0], 1)
    assert [event.data["seq"] for event in again[:-1]] == list(range(2, len(again) + 1))
    assert again[-1].type == "execution_cancelled"


def test_an_end_set_by_another_program_is_streamed_as_events_once_a_worker_records_it(
    service: RunningService,
) -> None:
    execution_id = service.start(document(node("ask", "approval")))
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        first = next(events)
        end_elsewhere(service, execution_id)
        ended_node, end = events
    assert [log["status"] for log in ended_node.data["logs"]] == ["cancelled"]
    assert (end.type, end.data["snapshot"]) == ("execution_cancelled", False)
    assert seqs([ended_node, end]) == [first.data["seq"] + 1, first.data["seq"] + 2]


def end_elsewhere(service: RunningService, execution_id: str) -> None:
    service.write("UPDATE workflow_executions SET status = 'cancelled' WHERE id = ?", execution_id)


@pytest.mark.parametrize(
    "question", ["last_position", "snapshots", "read_after", "tail", "last_changes"]
)
def test_a_failed_query_is_repeated(
    service: RunningService,
    gates: Gates,
    monkeypatch: pytest.MonkeyPatch,
    sweeping: None,
    question: str,
) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    refused: list[str] = []
    original: Callable[..., Awaitable[Any]] = getattr(EventFeed, question)

    async def refuse(self: EventFeed, *args: Any, **named: Any) -> Any:
        if len(refused) < 3:
            refused.append(question)
            raise StorageBusyError("the database is locked")
        return await original(self, *args, **named)

    monkeypatch.setattr(EventFeed, question, refuse)
    stream = f"/api/executions/{execution_id}/stream"
    with sse(service, stream) as fresh, sse(service, stream, 1) as resumed:
        first, second = next(fresh), next(resumed)
        assert (first.data["snapshot"], second.data["seq"]) == (True, 2)
        gates.open("gate")
        rest, others = list(fresh), list(resumed)
    last = service.ended(execution_id)["seq"]
    assert len(refused) == 3 or question == "statuses"
    assert seqs(rest) == list(range(first.data["seq"] + 1, last + 1))
    assert seqs(others) == list(range(3, last + 1))


def test_an_unexpected_error_does_not_end_the_streams(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution_id = service.start(GATED)
    gates.wait_for("gate")
    failed: list[int] = []
    original = EventFeed.tail

    async def fail_once(self: EventFeed, *args: Any) -> Any:
        if not failed:
            failed.append(1)
            raise ValueError("an unexpected error")
        return await original(self, *args)

    monkeypatch.setattr(EventFeed, "tail", fail_once)
    with sse(service, f"/api/executions/{execution_id}/stream") as events:
        next(events)
        gates.open("gate")
        assert list(events)[-1].type == "execution_complete"
    assert failed


def test_log_pages_after_a_number_complete_a_copy(service: RunningService, gates: Gates) -> None:
    chain = line(12)
    chain["nodes"].append(node("flaky", "flaky", failures=2, retries=2, retryDelaySeconds=0))
    chain["nodes"].append(node("gate", "gate"))
    chain["connections"].append({"id": "x", "fromNodeId": "start", "toNodeId": "flaky"})
    chain["connections"].append({"id": "y", "fromNodeId": "n5", "toNodeId": "gate"})
    execution_id = service.start(chain)
    path = f"/api/executions/{execution_id}/logs"
    copy: dict[str, Any] = {}
    known, differences = 0, 0
    while True:
        status = service.poll(execution_id)["status"]
        response = service.http.get(path, params={"afterSeq": known}).json()
        assert response["nextSeq"] >= known
        assert all(known < log["seq"] <= response["nextSeq"] for log in response["logs"])
        copy |= {log["nodeId"]: log for log in response["logs"]}
        differences += len(response["logs"])
        known = response["nextSeq"]
        whole = service.http.get(path).json()
        if whole["nextSeq"] == known:
            assert copy == {log["nodeId"]: log for log in whole["logs"]}
        if status == "completed":
            break
        if status == "running" and "n9" in copy:
            gates.open("gate")
    assert differences >= len(copy) == 14
    assert copy == service.logs(execution_id)
    assert service.http.get(path, params={"afterSeq": known}).json() == {
        "executionId": execution_id,
        "nextSeq": known,
        "hasMore": False,
        "logs": [],
    }
