"""Stream messages: one envelope for Server-Sent Events and WebSocket."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi.sse import format_sse_event

from api.schemas.payloads import payload_preview
from api.schemas.views import current_node_values, node_log_values, progress_values
from database.queries.results import Event, Execution, ExecutionSnapshot
from database.records import Payload
from engine.json_values import JsonValue, encode_json
from engine.status import EventType, end_event_type, has_ended


@dataclass(slots=True)
class Message:
    """A message to clients. It is encoded once for all of them."""

    execution_id: str
    body: Mapping[str, JsonValue]
    position: int | None = None
    """Position among the events of all executions; ``None`` if it is not in the journal."""
    seq: int | None = None
    """Sequence number of the execution; ``None`` if it is not in the journal."""
    ends: bool = False
    """Whether it is the last message of the execution."""
    _text: str | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The message in JSON."""
        if self._text is None:
            self._text = encode_json(dict(self.body))
        return self._text

    def as_sse(self, event_id: int | None) -> bytes:
        """Return the message as a Server-Sent Event; without an id, the client keeps the last."""
        return format_sse_event(
            data_str=self.text,
            event=str(self.body["type"]),
            id=None if event_id is None else str(event_id),
        )


def of_event(event: Event) -> Message:
    """Return the message for an event: the change, and the state of the execution after it."""
    is_end = event.log is None and has_ended(event.status)
    body = _envelope(event, event.execution_id, is_end=is_end) | {
        "position": event.position,
        "timestamp": event.at,
        "snapshot": False,
        "logs": [] if event.log is None else [node_log_values(event.log)],
    }
    if is_end:
        body |= _end(event.error, event.final_output)
    return Message(event.execution_id, body, event.position, event.seq, is_end)


def of_snapshot(snapshot: ExecutionSnapshot, position: int | None) -> Message:
    """Return the message with the state of an execution, for a client that starts with it.

    ``position`` is the position that the client has then reached. Only the last of several
    snapshots has one, so that a client that is disconnected before it receives all of them again.
    """
    execution = snapshot.execution
    is_end = has_ended(execution.status)
    body = _envelope(execution, execution.id, is_end=is_end) | {
        "position": position,
        "timestamp": execution.completed_at or execution.started_at or execution.created_at,
        "snapshot": True,
        "logs": list(map(node_log_values, snapshot.logs)),
        "omittedLogs": snapshot.omitted_logs,
    }
    if is_end:
        body |= _end(execution.error, execution.final_output)
    return Message(execution.id, body, position, execution.seq, is_end)


def of_deleted(execution_id: str) -> Message:
    """Return the last message of an execution that was deleted."""
    error = f"Execution '{execution_id}' was deleted"
    body: dict[str, JsonValue] = {
        "type": EventType.ERROR,
        "executionId": execution_id,
        "status": None,
        "error": error,
        "deleted": True,
        "logs": [],
    }
    return Message(execution_id, body, ends=True)


def _envelope(
    subject: Event | Execution, execution_id: str, *, is_end: bool
) -> dict[str, JsonValue]:
    """Return the fields that every message of an execution has."""
    return {
        "type": end_event_type(subject.status, subject.error) if is_end else EventType.PROGRESS,
        "executionId": execution_id,
        "workflowId": subject.workflow_id,
        "organizationId": subject.organization_id,
        "status": subject.status,
        "progress": progress_values(subject.progress, subject.status),
        "currentNodeId": subject.current_node_id,
        "currentNode": current_node_values(subject.current_node),
        "seq": subject.seq,
    }


def _end(error: str | None, final_output: Payload | None) -> dict[str, JsonValue]:
    return {"error": error, "finalOutput": payload_preview(final_output)}
