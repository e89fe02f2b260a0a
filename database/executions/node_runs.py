"""Node runs: writes and reads the rows of ``execution_logs``, one for each node run.

The callers append the events of the changes; see ``event_log``.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Text,
    bindparam,
    case,
    func,
    select,
    update,
)

from database.connection.engines import insert_or_ignore
from database.encryption import DataEncryption
from database.executions.event_log import append_node_events, append_step_events, step_event
from database.executions.event_waits import cancel_event_waits
from database.executions.hidden_waits import read_resumption
from database.executions.human_tasks import cancel_tasks
from database.executions.journal_records import NodeEnded, NodeStarted, RecordedStep, TimeSpent
from database.executions.permits import withdraw_requests
from database.foreign_values import json_of, object_of, text_of
from database.records import Lease
from database.tables import logs, runs
from engine.document import Node
from engine.json_values import JsonValue, encode_json
from engine.outcome import ERROR_DETAILS, SKIPPED, Outcome
from engine.parking import Parked, ParkedNode, ParkedPermit, ParkedRetry
from engine.redaction import HIDDEN, hides_data
from engine.status import DECIDED, NodeStatus

_END_NODE = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(
        status=bindparam("ends"),
        outputData=bindparam("output"),
        resultDetail=bindparam("detail"),
        error=bindparam("reason"),
        duration=func.coalesce(bindparam("took", type_=Integer), logs.c.duration),
        waitUntil=bindparam("until"),
        endedAt=bindparam("at"),
        waitedMs=func.coalesce(bindparam("waited", type_=BigInteger), logs.c.waitedMs),
        waitingSince=bindparam("since"),
        attempt=func.coalesce(bindparam("tries", type_=Integer), logs.c.attempt),
        failedAttempts=func.coalesce(bindparam("failed", type_=Integer), logs.c.failedAttempts),
        lastError=func.coalesce(bindparam("failure", type_=Text), logs.c.lastError),
        seq=bindparam("change"),
        # Its data is part of the output now. A repeated parking does not change it.
        resumption=case((bindparam("ends") != NodeStatus.WAITING, None), else_=logs.c.resumption),
    )
)
_BEGIN_AGAIN = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(
        status=NodeStatus.RUNNING,
        attempt=bindparam("tries"),
        seq=bindparam("change"),
        waitUntil=None,
        waitingSince=None,
        # A resumption starts one attempt, not all that follow.
        resumption=None,
        nodePercentage=None,
        nodeMessage=None,
    )
)
_RESTART = _BEGIN_AGAIN.values(
    inputData=bindparam("input"),
    error=None,
    startSeq=bindparam("change"),
    timestamp=bindparam("at"),
    startedAt=func.coalesce(logs.c.startedAt, bindparam("at", type_=Text)),
    endedAt=None,
)
_NEXT_ATTEMPT = _BEGIN_AGAIN.values(
    waitedMs=func.coalesce(bindparam("waited", type_=BigInteger), logs.c.waitedMs)
)
_CANCEL = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(
        status=NodeStatus.CANCELLED,
        endedAt=bindparam("at"),
        waitedMs=bindparam("waited"),
        waitingSince=None,
        seq=bindparam("change"),
    )
)


def write_node_runs(
    connection: Connection, lease: Lease, seq: int, steps: Sequence[RecordedStep]
) -> None:
    """Write the rows of the node runs that these steps change, and append the events.

    The changes take the numbers after ``seq``. A node run that starts and ends in these steps is
    one new row.
    """
    rows = _ChangedRows(lease)
    events: list[dict[str, object]] = []
    for step in steps:
        for node_id, status, attempt in rows.add(seq + len(events), step):
            number = seq + len(events) + 1
            events.append(step_event(lease, number, step, row_id(lease, node_id), status, attempt))
    rows.write(connection)
    append_step_events(connection, events)


class _ChangedRows:
    """The rows of ``execution_logs`` that one transaction changes, by statement."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._new: dict[str, dict[str, object]] = {}
        self._ends: list[dict[str, object]] = []
        self._restarts: list[dict[str, object]] = []
        self._next_attempts: list[dict[str, object]] = []

    def add(self, seq: int, step: RecordedStep) -> Iterator[tuple[str, NodeStatus, int | None]]:
        """Add the changes of a step, with numbers after ``seq``.

        Yields:
            The node id, the status and the attempt of each change; ``None`` keeps the attempt.
        """
        changes = step.changes
        for node in changes.ended:
            seq += 1
            self._end(node, seq, step.at)
            yield node.node_id, node.status, None
        for decided in changes.decided:
            seq += 1
            row = _new_row(self._lease, decided.node, decided.status, seq, step.at)
            row |= {"outputData": decided.output_data, "error": decided.error}
            self._new[decided.node.id] = row
            yield decided.node.id, decided.status, None
        for start in changes.started:
            seq += 1
            self._start(start, seq, step.at)
            yield start.node.id, NodeStatus.RUNNING, start.attempt

    def write(self, connection: Connection) -> None:
        """Execute one statement for each kind of change."""
        if self._ends:
            connection.execute(_END_NODE, self._ends)
        if self._new:
            # If a commit was not confirmed, the same write runs again and finds these rows.
            insert = insert_or_ignore(connection.dialect.name, logs)
            connection.execute(insert, list(self._new.values()))
        if self._restarts:
            connection.execute(_RESTART, self._restarts)
        if self._next_attempts:
            connection.execute(_NEXT_ATTEMPT, self._next_attempts)

    def _end(self, node: NodeEnded, seq: int, at: str) -> None:
        ended_at = None if node.status == NodeStatus.WAITING else at
        if (row := self._new.get(node.node_id)) is not None:
            row |= {
                "status": node.status,
                "outputData": node.output_data,
                "resultDetail": node.detail,
                "error": node.error,
                "duration": node.duration,
                "endedAt": ended_at,
                "seq": seq,
            }
            return
        self._ends.append(
            {
                "row": row_id(self._lease, node.node_id),
                "ends": node.status,
                "output": node.output_data,
                "detail": node.detail,
                "reason": node.error,
                "took": node.duration,
                "until": node.wait_until,
                "at": ended_at,
                "waited": node.waited_ms,
                "since": node.waiting_since,
                "tries": node.retry.attempt if node.retry else None,
                "failed": node.retry.failed_attempts if node.retry else None,
                "failure": node.retry.error if node.retry else None,
                "change": seq,
            }
        )

    def _start(self, start: NodeStarted, seq: int, at: str) -> None:
        node_id = start.node.id
        values = {"row": row_id(self._lease, node_id), "tries": start.attempt, "change": seq}
        if start.was_parked:
            self._next_attempts.append({**values, "waited": start.waited_ms})
        elif start.resumed:
            self._restarts.append({**values, "input": _input_data(start), "at": at})
        else:
            row = _new_row(self._lease, start.node, NodeStatus.RUNNING, seq, at)
            row |= {"inputData": _input_data(start), "attempt": start.attempt, "startedAt": at}
            self._new[node_id] = row


IN_FLIGHT = (NodeStatus.RUNNING,)
UNENDED = (NodeStatus.RUNNING, NodeStatus.WAITING)


def cancel_node_runs(
    connection: Connection,
    execution_ids: Sequence[str],
    now: str,
    statuses: Sequence[NodeStatus] = IN_FLIGHT,
) -> None:
    """Set the node runs that have one of these statuses to ``cancelled``.

    Each row takes a sequence number and gets an event.
    """
    rows = connection.execute(
        select(logs.c.id, logs.c.executionId, runs.c.seq, logs.c.waitedMs, logs.c.waitingSince)
        .join(runs, runs.c.executionId == logs.c.executionId)
        .where(logs.c.executionId.in_(execution_ids), logs.c.status.in_(statuses))
        .order_by(logs.c.startSeq)
    ).all()
    changes: dict[str, list[tuple[int, str]]] = {}
    ends: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        numbered = changes.setdefault(row.executionId, [])
        seq = row.seq + len(numbered) + 1
        numbered.append((seq, row.id))
        ends.setdefault(row.executionId, []).append(
            {"row": row.id, "change": seq, "at": now, "waited": _waited_ms(row, now)}
        )
    for execution_id, changed in changes.items():
        connection.execute(_CANCEL, ends[execution_id])
        connection.execute(
            update(runs).where(runs.c.executionId == execution_id).values(seq=changed[-1][0])
        )
        append_node_events(connection, execution_id, changed, now)
    if parked := [row.id for row in rows if row.waitingSince is not None]:
        cancel_tasks(connection, execution_ids, now)
        cancel_event_waits(connection, execution_ids)
        withdraw_requests(connection, execution_ids, parked)


def outcome_of(row: Row[*tuple[Any, ...]], encryption: DataEncryption) -> Outcome | None:
    """Return the outcome of a node run; ``None`` if it has not ended."""
    if row.status not in DECIDED:
        return None
    if row.status == NodeStatus.SKIPPED:
        return SKIPPED
    if row.status == NodeStatus.ERROR:
        return Outcome(NodeStatus.ERROR, _error_detail(row), error=text_of(row.error))
    return Outcome(
        NodeStatus.COMPLETED, _result(row, encryption), size=len(text_of(row.outputData) or "")
    )


def time_spent(row: Row[*tuple[Any, ...]]) -> TimeSpent:
    """Return the duration of a node run so far."""
    since = datetime.fromisoformat(row.waitingSince) if row.waitingSince else None
    return TimeSpent(row.duration or 0, row.waitedMs or 0, since)


def _waited_ms(row: Row[*tuple[Any, ...]], now: str) -> int | None:
    """Return the total time for which a node run was parked up to ``now``, in milliseconds."""
    if row.waitingSince is None:
        return row.waitedMs
    since = datetime.fromisoformat(now) - datetime.fromisoformat(row.waitingSince)
    return (row.waitedMs or 0) + max(0, round(since.total_seconds() * 1000))


def attempts_so_far(row: Row[*tuple[Any, ...]]) -> int | None:
    """Return the number of attempts of an undecided node run; ``None`` if its attempt continues."""
    if row.status in (NodeStatus.RUNNING, NodeStatus.CANCELLED):
        return row.attempt or 1
    if _is_parked_retry(row):
        return (row.attempt or 2) - 1  # the row contains the number of the next attempt
    if _waits_for_permit(row):
        return (row.attempt or 1) - 1
    return None


def _is_parked_retry(row: Row[*tuple[Any, ...]]) -> bool:
    is_waiting = row.status == NodeStatus.WAITING
    return is_waiting and row.waitUntil is not None and not row.resultDetail


def _waits_for_permit(row: Row[*tuple[Any, ...]]) -> bool:
    is_waiting = row.status == NodeStatus.WAITING
    return is_waiting and row.waitUntil is None and not row.resultDetail


def parked_node(row: Row[*tuple[Any, ...]], encryption: DataEncryption) -> Parked:
    """Return the parked node of a row that waits."""
    if _waits_for_permit(row):
        return ParkedPermit()
    if _is_parked_retry(row):
        until = datetime.fromisoformat(row.waitUntil)
        return ParkedRetry(until, resumed=row.resumption is not None)
    resumption = read_resumption(row.resumption, encryption) if row.resumption else None
    return ParkedNode(_result(row, encryption), resumption)


def _input_data(start: NodeStarted) -> str:
    return encode_json(dict(HIDDEN)) if hides_data(start.node) else start.input_data


def _error_detail(row: Row[*tuple[Any, ...]]) -> dict[str, JsonValue]:
    detail = object_of(row.resultDetail)
    return {key: detail[key] for key in ERROR_DETAILS if key in detail}


def _result(row: Row[*tuple[Any, ...]], encryption: DataEncryption) -> dict[str, JsonValue]:
    detail = object_of(row.resultDetail)
    if (result := encryption.decrypt(detail)) is not None:
        return result
    return {**detail, "outputData": json_of(row.outputData)}


def is_own_row() -> ColumnElement[bool]:
    """Return the SQL condition for rows of this service, whose id contains the node's id.

    Other programs may add rows to an execution of this service.
    """
    return logs.c.id == logs.c.executionId + ":" + logs.c.nodeId


def row_id(lease: Lease, node_id: str) -> str:
    """Return the primary key of a node run's row."""
    return f"{lease.execution_id}:{node_id}"


def _new_row(lease: Lease, node: Node, status: NodeStatus, seq: int, now: str) -> dict[str, object]:
    return {
        "id": row_id(lease, node.id),
        "executionId": lease.execution_id,
        "nodeId": node.id,
        "nodeType": node.shown_type,
        "nodeLabel": node.label,
        "status": status,
        "seq": seq,
        "startSeq": seq,
        "timestamp": now,
        "inputData": None,
        "outputData": None,
        "error": None,
        "attempt": None,
        "startedAt": None,
        "resultDetail": None,
        "duration": None,
        "endedAt": None,
    }
