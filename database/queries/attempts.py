"""Attempts: reads when the attempts of node runs started and when they were parked.

The row of a node run contains its first start, its end and sums. The events of the execution
contain each change with its time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Literal

from sqlalchemy import Connection, bindparam, func, or_, select

from database.connection.reader import Reader
from database.foreign_values import integer_of
from database.tables import events, logs
from engine.status import NodeStatus

MAX_NODE_RUNS = 1_000
"""Maximum number of node runs whose attempts are read."""

_SEVERAL = (
    select(logs.c.nodeId)
    .where(
        logs.c.executionId == bindparam("execution"),
        or_(logs.c.attempt > 1, logs.c.waitedMs > 0, logs.c.waitingSince.is_not(None)),
    )
    .order_by(func.coalesce(logs.c.startSeq, 0), logs.c.id)
    .limit(MAX_NODE_RUNS)
)
_CHANGES = (
    select(events.c.nodeId, events.c.nodeStatus, events.c.attempt, events.c.at)
    .where(
        events.c.executionId == bindparam("execution"),
        events.c.nodeId.in_(_SEVERAL),
    )
    .order_by(events.c.nodeId, events.c.seq)
)


Kind = Literal["running", "parked"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a node run: an attempt, or a time in which it was parked."""

    node_id: str
    kind: Kind
    attempt: int
    started_at: str
    ended_at: str | None


_KINDS: dict[str, Kind] = {NodeStatus.RUNNING: "running", NodeStatus.WAITING: "parked"}


@dataclass(frozen=True, slots=True)
class _Change:
    node_id: str
    status: str
    attempt: int
    at: str

    def differs(self, before: "_Change | None") -> bool:
        """Return whether a segment starts here; reports of progress change nothing."""
        return before is None or (self.status, self.attempt) != (before.status, before.attempt)


class Attempts:
    """Reads the attempts of node runs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def of_execution(self, execution_id: str) -> list[Segment]:
        """Return the segments of the node runs that had several attempts or were parked.

        At most ``MAX_NODE_RUNS`` node runs are contained, by node id and then by time.
        """

        def read(connection: Connection) -> list[Segment]:
            rows = connection.execute(_CHANGES, {"execution": execution_id})
            changes = [
                _Change(row.nodeId, row.nodeStatus, integer_of(row.attempt) or 1, row.at)
                for row in rows
            ]
            return [
                segment
                for _, own in groupby(changes, key=lambda change: change.node_id)
                for segment in _segments(list(own))
            ]

        return await self._reader.run(read)


def _segments(changes: Sequence[_Change]) -> Iterator[Segment]:
    """Yield the segments between the changes of one node run."""
    starts = [
        change
        for change, before in zip(changes, [None, *changes], strict=False)
        if change.differs(before)
    ]
    for start, end in zip_longest(starts, starts[1:]):
        kind = _KINDS.get(start.status)
        if kind is not None:
            ended_at = None if end is None else end.at
            yield Segment(start.node_id, kind, start.attempt, start.at, ended_at)
