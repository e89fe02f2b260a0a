"""Event feed: reads new events and snapshots of executions for subscribers."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, case, func, select

from database.connection.reader import Reader
from database.foreign_values import (
    payload_of,
    required_text_of,
    short_text_of,
    text_of,
)
from database.payloads import characters_of, first_characters
from database.queries.executions import (
    CURRENT,
    current_node,
    current_node_columns,
    is_row_of,
    log_columns,
    node_log,
    read_execution,
    read_logs,
)
from database.queries.results import (
    Event,
    ExecutionChange,
    ExecutionSnapshot,
    NodeLog,
    SubscriptionFilter,
)
from database.tables import events, executions, logs, runs
from engine.errors import ExecutionNotFoundError
from engine.outcome import Progress
from engine.status import OPEN, ExecutionStatus, NodeStatus, has_ended

PAYLOAD_PREVIEW_CHARS = 8_192
"""Maximum length of a payload's JSON in an event, in characters."""
MIN_PAYLOAD_CHARS = 256
MAX_SNAPSHOT_CHARS = 800_000
"""Maximum size of all payloads in the snapshots that one client gets, in characters."""
MAX_SNAPSHOT_LOGS = 5_000
"""Maximum number of node runs in the snapshots that one client gets."""
MIN_SNAPSHOT_LOGS = 10
"""Minimum number of node runs that each snapshot may have."""
MAX_SNAPSHOTS = 500
"""Maximum number of snapshots that a subscriber to an organization gets."""

_ENDED = (NodeStatus.COMPLETED, NodeStatus.ERROR, NodeStatus.CANCELLED, NodeStatus.WAITING)
_IS_END = and_(events.c.nodeId.is_(None), events.c.status.not_in(sorted(OPEN)))
_IS_WAITING = and_(events.c.nodeStatus == NodeStatus.WAITING, logs.c.status == NodeStatus.WAITING)
_FINAL_OUTPUT = first_characters(executions.c.finalOutput, executions.c.id, PAYLOAD_PREVIEW_CHARS)
_FROM_EVENT = [
    events.c.nodeId,
    events.c.nodeStatus.label("status"),
    events.c.attempt,
    events.c.seq,
    events.c.lastError,
    events.c.nodePercentage,
    events.c.nodeMessage,
    case((_IS_WAITING, logs.c.resultDetail)).label("question"),
]
"""Columns of a node run that are read from the event, because the row may have changed since."""
_FROM_EVENT_KEYS = {column.key for column in _FROM_EVENT}
_EVENTS = (
    select(
        events.c.position,
        events.c.executionId,
        events.c.at,
        events.c.status.label("executionStatus"),
        events.c.currentNodeId,
        events.c.completedNodes,
        events.c.failedNodes,
        events.c.skippedNodes,
        executions.c.workflowId,
        executions.c.organizationId,
        runs.c.totalNodes,
        *_FROM_EVENT,
        *(c for c in log_columns(PAYLOAD_PREVIEW_CHARS) if c.key not in _FROM_EVENT_KEYS),
        logs.c.status.label("statusNow"),
        case((_IS_END, executions.c.error)).label("executionError"),
        case((_IS_END, _FINAL_OUTPUT)).label("final"),
        case((_IS_END, characters_of(executions.c.finalOutput, executions.c.id))).label(
            "finalSize"
        ),
        *current_node_columns(),
    )
    .join(executions, executions.c.id == events.c.executionId)
    .outerjoin(runs, runs.c.executionId == events.c.executionId)
    .outerjoin(logs, is_row_of(logs, events.c.executionId, events.c.nodeId))
    .outerjoin(CURRENT, is_row_of(CURRENT, events.c.executionId, events.c.currentNodeId))
    .where(events.c.position > bindparam("after"), events.c.position <= bindparam("top"))
    .order_by(events.c.position)
    .limit(bindparam("most"))
)
_TOP = select(func.coalesce(func.max(events.c.position), 0).label("top"))
_LAST = _TOP.subquery("last")
_CHANGED = (
    select(
        _LAST.c.top,
        executions.c.id.label("executionId"),
        executions.c.organizationId,
        func.max(events.c.seq).label("seq"),
        func.max(case((_IS_END, 1), else_=0)).label("isEnd"),
    )
    .select_from(_LAST)
    .outerjoin(
        events, and_(events.c.position > bindparam("after"), events.c.position <= _LAST.c.top)
    )
    .outerjoin(executions, executions.c.id == events.c.executionId)
    .group_by(_LAST.c.top, executions.c.id, executions.c.organizationId)
)
"""The last position, in a row without an execution if no event follows ``after``."""


class EventFeed:
    """Reads events, and snapshots for subscribers that start without a position."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def last_position(self) -> int:
        """Return the position of the last event."""
        return await self._reader.run(_last_position, snapshot=False)

    async def read_after(
        self, position: int, interest: SubscriptionFilter, limit: int
    ) -> tuple[list[Event], int, bool]:
        """Return up to ``limit`` events after ``position``.

        Returns:
            The events, the position up to which they are complete, and whether more may follow.
        """

        def read(connection: Connection) -> tuple[list[Event], int, bool]:
            top = _last_position(connection)
            return _after(connection, position, _of(interest), limit, top)

        return await self._reader.run(read, snapshot=False)

    async def tail(
        self, position: int, wanted: Callable[[str, str | None], bool], limit: int
    ) -> tuple[list[ExecutionChange], list[Event], int, bool]:
        """Return changes, and events of the executions for which ``wanted`` returns true.

        This is for pollers whose position is close to the last event, because it reads the keys of
        all new events. ``wanted`` gets id and organization, in another thread.

        Returns:
            The last change of every execution after ``position``; then as ``read_after``.
        """

        def read(
            connection: Connection,
        ) -> tuple[list[ExecutionChange], list[Event], int, bool]:
            found = connection.execute(_CHANGED, {"after": position}).all()
            top = found[0].top
            rows = [row for row in found if row.executionId is not None]
            changes = [ExecutionChange(row.executionId, row.seq, bool(row.isEnd)) for row in rows]
            ids = [row.executionId for row in rows if wanted(row.executionId, row.organizationId)]
            if not ids:
                return changes, [], top, False
            # An expression, so that SQLite reads the new events, and not all of these executions.
            selected = [(events.c.executionId + "").in_(ids)]
            return changes, *_after(connection, position, selected, limit, top)

        # The events up to ``top`` do not change, so that a snapshot is not necessary.
        return await self._reader.run(read, snapshot=False)

    async def position_after(self, execution_id: str, seq: int) -> int | None:
        """Return a position after which an execution's events after ``seq`` follow.

        Returns ``None`` if the following event was deleted, or ``seq`` does not exist.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """

        def read(connection: Connection) -> int | None:
            top = _last_position(connection)
            latest = connection.execute(
                select(executions.c.id, runs.c.seq)
                .outerjoin(runs, runs.c.executionId == executions.c.id)
                .where(executions.c.id == execution_id)
            ).first()
            if latest is None:
                raise ExecutionNotFoundError(execution_id)
            if seq >= (latest.seq or 0):
                return top if seq == (latest.seq or 0) else None
            following = select(events.c.position).where(events.c.executionId == execution_id)
            position = connection.scalar(following.where(events.c.seq == seq + 1))
            return None if position is None else position - 1

        return await self._reader.run(read)

    async def snapshots(self, interest: SubscriptionFilter) -> tuple[list[ExecutionSnapshot], int]:
        """Return snapshots of the executions, and the position of the last event in them.

        Without ids in ``interest``, only executions that have not ended are returned.

        Raises:
            ExecutionNotFoundError: If an execution in ``interest`` does not exist.
        """

        def read(connection: Connection) -> tuple[list[ExecutionSnapshot], int]:
            top = _last_position(connection)
            ids: Collection[str] | None = interest.execution_ids
            if ids is None:
                ids = [row.executionId for row in connection.execute(_unended(interest))]
            most = max(MIN_SNAPSHOT_LOGS, MAX_SNAPSHOT_LOGS // max(1, len(ids)))
            characters = MAX_SNAPSHOT_CHARS // max(1, len(ids))
            return [_snapshot(connection, i, most, characters) for i in ids], top

        return await self._reader.run(read)

    async def last_changes(self, execution_ids: Collection[str]) -> dict[str, ExecutionChange]:
        """Return the last changes of those of these executions that exist."""
        query = (
            select(executions.c.id, executions.c.status, runs.c.seq)
            .outerjoin(runs, runs.c.executionId == executions.c.id)
            .where(executions.c.id.in_(execution_ids))
        )
        rows = await self._reader.run(
            lambda connection: connection.execute(query).all(), snapshot=False
        )
        return {
            row.id: ExecutionChange(
                row.id, row.seq or 0, has_ended(text_of(row.status) or ExecutionStatus.PENDING)
            )
            for row in rows
        }


def _after(
    connection: Connection,
    position: int,
    wanted: Sequence[ColumnElement[bool]],
    limit: int,
    top: int,
) -> tuple[list[Event], int, bool]:
    values = {"after": position, "top": top, "most": limit}
    found = [_event(row) for row in connection.execute(_EVENTS.where(*wanted), values)]
    more = len(found) == limit
    return found, found[-1].position if more else top, more


def _last_position(connection: Connection) -> int:
    return connection.execute(_TOP).scalar_one()


def _of(interest: SubscriptionFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if interest.execution_ids is not None:
        conditions.append(events.c.executionId.in_(list(interest.execution_ids)))
    if interest.organization_id is not None:
        conditions.append(executions.c.organizationId == interest.organization_id)
    return conditions


def _unended(interest: SubscriptionFilter) -> Select[tuple[str]]:
    query = (
        select(runs.c.executionId)
        .join(executions, executions.c.id == runs.c.executionId)
        .where(runs.c.endedAt.is_(None))
        .order_by(runs.c.position.desc())
        .limit(MAX_SNAPSHOTS)
    )
    if interest.organization_id is None:
        return query
    return query.where(executions.c.organizationId == interest.organization_id)


def _snapshot(
    connection: Connection, execution_id: str, most: int, characters: int
) -> ExecutionSnapshot:
    """Return a snapshot with at most ``most`` node runs and about ``characters`` of payloads."""
    execution = read_execution(connection, execution_id, PAYLOAD_PREVIEW_CHARS)
    own_logs = logs.c.executionId == execution_id
    nodes = connection.execute(select(func.count()).select_from(logs).where(own_logs)).scalar_one()
    shown = min(nodes, most)
    cut_at = max(MIN_PAYLOAD_CHARS, min(PAYLOAD_PREVIEW_CHARS, characters // max(1, shown)))
    # A power of two, because each different number is another statement to prepare.
    cut_at = 1 << (cut_at.bit_length() - 1)
    read = read_logs(connection, execution_id, last=most, cut_at=cut_at)
    return ExecutionSnapshot(execution, read, nodes - shown)


def _event(row: Row[*tuple[Any, ...]]) -> Event:
    return Event(
        position=row.position,
        seq=row.seq,
        at=row.at,
        execution_id=row.executionId,
        workflow_id=required_text_of(row.workflowId),
        organization_id=text_of(row.organizationId),
        status=text_of(row.executionStatus) or ExecutionStatus.PENDING,
        current_node_id=text_of(row.currentNodeId),
        current_node=current_node(row),
        progress=Progress(
            row.totalNodes or 0, row.completedNodes, row.failedNodes, row.skippedNodes
        ),
        log=None if row.nodeId is None else _log(row),
        error=short_text_of(row.executionError),
        final_output=payload_of(row.final, row.finalSize, PAYLOAD_PREVIEW_CHARS),
    )


def _log(row: Row[*tuple[Any, ...]]) -> NodeLog:
    """Return the node run at the time of the event, without later values of its row."""
    log = node_log(row, PAYLOAD_PREVIEW_CHARS)
    is_current = row.status == row.statusNow
    if is_current and row.status in _ENDED:
        log = replace(log, error=short_text_of(log.error))
    else:
        log = replace(log, output_data=None, error=None, duration=None, ended_at=None)
    if not is_current:
        log = replace(log, waited_ms=None, wait_until=None, waiting_for=None)
    if not is_current or row.status != NodeStatus.WAITING:
        log = replace(log, waiting_since=None)
    return replace(log, child_execution_id=None) if row.status == NodeStatus.RUNNING else log
