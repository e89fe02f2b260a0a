"""Stream messages: which fields a change, a snapshot and a deletion have, and which one ends."""

from typing import Any

import pytest

from api.streaming.messages import Message, of_deleted, of_event, of_snapshot
from database.queries.results import Event, Execution, ExecutionSnapshot
from database.records import Payload
from engine.outcome import Progress

PROGRESS = Progress(4, 1, 0, 1)
OUTPUT = Payload('{"n":1}', 7)


def _event(status: str, error: str | None = None, output: Payload | None = None) -> Event:
    return Event(
        position=9,
        seq=3,
        at="2026-01-01T00:00:00Z",
        execution_id="e",
        workflow_id="w",
        organization_id="o",
        status=status,
        current_node_id="a",
        current_node=None,
        progress=PROGRESS,
        log=None,
        error=error,
        final_output=output,
    )


def _execution(status: str, **values: Any) -> Execution:
    times: dict[str, Any] = {"created_at": "1", "started_at": None, "completed_at": None}
    return Execution(
        id="e",
        workflow_id="w",
        organization_id="o",
        status=status,
        **(times | values),
        current_node_id="a",
        current_node=None,
        error=None,
        final_output=OUTPUT if status == "completed" else None,
        progress=PROGRESS,
        seq=3,
        flow_run_id=None,
        rerun_of=None,
        cancel_requested=False,
    )


ENVELOPE = {
    "executionId": "e",
    "workflowId": "w",
    "organizationId": "o",
    "currentNodeId": "a",
    "currentNode": None,
    "seq": 3,
}


def test_a_change_is_not_a_snapshot_and_does_not_end():
    message = of_event(_event("running"))
    assert (message.position, message.seq, message.ends) == (9, 3, False)
    assert message.body.items() >= ENVELOPE.items()
    assert message.body["type"] == "execution_progress"
    assert message.body["snapshot"] is False
    assert message.body["position"] == 9
    assert message.body["logs"] == []
    assert not {"error", "finalOutput", "omittedLogs", "deleted"} & message.body.keys()


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        ("completed", None, "execution_complete"),
        ("failed", "e", "execution_error"),
        ("cancelled", None, "execution_cancelled"),
    ],
)
def test_the_end_has_the_result_and_ends_the_stream(status: str, error: str | None, kind: str):
    message = of_event(_event(status, error, OUTPUT))
    assert message.ends
    assert message.body["type"] == kind
    assert message.body["snapshot"] is False
    assert message.body["error"] == error
    assert "finalOutput" in message.body


@pytest.mark.parametrize("position", [None, 9])
def test_a_snapshot_of_a_running_execution_does_not_end(position: int | None):
    message = of_snapshot(ExecutionSnapshot(_execution("running"), [], 2), position)
    assert (message.position, message.seq, message.ends) == (position, 3, False)
    assert message.body.items() >= ENVELOPE.items()
    assert message.body["type"] == "execution_progress"
    assert (message.body["snapshot"], message.body["omittedLogs"]) == (True, 2)
    assert (message.body["position"], message.body["timestamp"]) == (position, "1")
    assert "finalOutput" not in message.body


def test_a_snapshot_of_an_ended_execution_ends_and_has_its_last_time():
    ended = _execution("completed", started_at="2", completed_at="3")
    message = of_snapshot(ExecutionSnapshot(ended, [], 0), 9)
    assert message.ends
    assert (message.body["type"], message.body["timestamp"]) == ("execution_complete", "3")
    assert "finalOutput" in message.body
    started = ExecutionSnapshot(_execution("running", started_at="2"), [], 0)
    assert of_snapshot(started, 9).body["timestamp"] == "2"


def test_a_deletion_ends_the_stream_without_a_position():
    message = of_deleted("e")
    assert (message.position, message.seq, message.ends) == (None, None, True)
    assert message.body["deleted"] is True
    assert (message.body["type"], message.body["status"]) == ("execution_error", None)
    assert message.body["error"] == "Execution 'e' was deleted"


def test_a_message_without_an_id_keeps_the_last_one_of_the_client():
    message = Message("e", {"type": "execution_progress"})
    assert not message.ends
    assert b"id: 0\n" in message.as_sse(0)
    assert b"id:" not in message.as_sse(None)
    assert b"event: execution_progress\n" in message.as_sse(None)
