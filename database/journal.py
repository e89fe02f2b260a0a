"""The journal: how an execution goes, recorded by the owner of its lease.

One method is one change of state is one transaction. Each begins with the guard: it renews the
lease of this owner on an execution that has not ended, and where that changes no row it raises
``LeaseLostError`` and writes nothing.
"""

import json
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, Integer, bindparam, func, select, update

from database.clock import Clock, to_text
from database.connection import insert_if_new
from database.reader import Reader
from database.records import Ending, Lease, NodeEnded, NodeStarted, RunRecord
from database.tables import definitions, executions, logs, runs
from database.writer import Writer
from engine.document import Node
from engine.errors import LeaseLostError
from engine.plan import SKIPPED, Outcome, Progress
from engine.status import DECIDED, ExecutionStatus, NodeStatus
from engine.values import JsonValue

# Statements are built once: building one anew takes longer than SQLite takes to carry it out.
_LOAD_RUN = (
    select(executions.c.inputs, definitions.c.document, runs.c.seq, runs.c.cancelRequestedAt)
    .join(runs, runs.c.executionId == executions.c.id)
    .join(definitions, definitions.c.hash == runs.c.definitionHash)
    .where(executions.c.id == bindparam("execution"), runs.c.owner == bindparam("owner"))
)
_LOAD_NODES = (
    select(
        logs.c.nodeId,
        logs.c.status,
        logs.c.outputData,
        logs.c.resultDetail,
        logs.c.error,
        logs.c.attempt,
    )
    .where(logs.c.executionId == bindparam("execution"))
    .order_by(logs.c.seq)
)
_END_NODE = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(
        status=bindparam("ends"),
        outputData=bindparam("output"),
        resultDetail=bindparam("detail"),
        error=bindparam("reason"),
        duration=bindparam("took"),
        seq=bindparam("change"),
    )
)
_START_AGAIN = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(
        status=NodeStatus.RUNNING,
        inputData=bindparam("input"),
        attempt=bindparam("tries"),
        error=None,
        seq=bindparam("change"),
        startSeq=bindparam("change"),
        timestamp=bindparam("at"),
    )
)


_HOLD = (
    update(runs)
    .where(runs.c.executionId == bindparam("execution"), runs.c.owner == bindparam("holder"))
    .where(runs.c.endedAt.is_(None))
    .values(
        seq=func.coalesce(bindparam("change", type_=Integer), runs.c.seq + 1),
        leaseUntil=bindparam("until"),
    )
)
_HOLD_AND_PROGRESS = _HOLD.values(
    completedNodes=bindparam("completed"),
    failedNodes=bindparam("failed"),
    skippedNodes=bindparam("skipped"),
)
_IF_RUNNING = (
    update(executions)
    .where(executions.c.id == bindparam("execution"))
    .where(executions.c.status == ExecutionStatus.RUNNING)
)
_STAND_AT = _IF_RUNNING.values(currentNodeId=bindparam("current"))


class Journal:
    """Recording executions, for the owner of their leases."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def load(self, lease: Lease) -> RunRecord:
        """What has happened of a claimed execution so far.

        Raises:
            LeaseLostError: it was deleted or taken over.
        """
        names = {"execution": lease.execution_id, "owner": lease.owner}
        head, rows = await self._reader.run(
            lambda connection: (
                connection.execute(_LOAD_RUN, names).first(),
                connection.execute(_LOAD_NODES, names).all(),
            )
        )
        if head is None:
            raise LeaseLostError(lease.execution_id)
        outcomes: dict[str, Outcome] = {}
        attempts: dict[str, int] = {}
        for row in rows:
            status = NodeStatus(row.status)
            if status not in DECIDED:
                attempts[row.nodeId] = row.attempt or 1
            elif status == NodeStatus.SKIPPED:
                outcomes[row.nodeId] = SKIPPED
            elif status == NodeStatus.ERROR:
                outcomes[row.nodeId] = Outcome(status, error=row.error)
            else:
                detail: dict[str, JsonValue] = json.loads(row.resultDetail or "{}")
                output = json.loads(row.outputData) if row.outputData else None
                outcomes[row.nodeId] = Outcome(status, {**detail, "outputData": output})
        return RunRecord(
            lease.execution_id,
            head.document,
            head.inputs,
            head.seq,
            head.cancelRequestedAt is not None,
            outcomes,
            attempts,
        )

    async def record_step(
        self,
        lease: Lease,
        seq: int,
        progress: Progress,
        current_node_id: str | None,
        *,
        ended: Sequence[NodeEnded] = (),
        skipped: Sequence[Node] = (),
        started: Sequence[NodeStarted] = (),
    ) -> int:
        """Records which nodes ended, were skipped and begin, all or nothing.

        Returns:
            The execution's sequence number after it; every changed row took one.
        """
        after = seq + len(ended) + len(skipped) + len(started)

        def write(connection: Connection) -> None:
            self._guard(connection, lease, after, progress)
            reached = self._end_nodes(connection, lease, seq, ended)
            self._begin_nodes(connection, lease, reached, skipped, started)
            running = connection.execute(
                _STAND_AT, {"execution": lease.execution_id, "current": current_node_id}
            )
            if running.rowcount != 1:
                raise LeaseLostError(lease.execution_id)

        await self._writer.run(write)
        return after

    async def record_retry(
        self, lease: Lease, seq: int, node_id: str, attempt: int, error: str
    ) -> int:
        """Records that an attempt failed and that ``attempt`` is the one to come."""

        def write(connection: Connection) -> None:
            self._guard(connection, lease, seq + 1)
            connection.execute(
                update(logs)
                .where(logs.c.id == _row_id(lease, node_id))
                .values(attempt=attempt, lastError=error, seq=seq + 1)
            )

        await self._writer.run(write)
        return seq + 1

    async def finish(
        self,
        lease: Lease,
        seq: int,
        ending: Ending,
        *,
        ended: Sequence[NodeEnded] = (),
        skipped: Sequence[Node] = (),
    ) -> None:
        """Records how the execution ends, with the last nodes that did, all or nothing."""
        now = to_text(self._clock())

        def write(connection: Connection) -> None:
            after = seq + len(ended) + len(skipped) + 1
            self._guard(connection, lease, after, ending.progress)
            reached = self._end_nodes(connection, lease, seq, ended)
            self._begin_nodes(connection, lease, reached, skipped, ())
            self._end_execution(connection, lease, ending, now)

        await self._writer.run(write)

    async def abandon(self, lease: Lease, error: str) -> None:
        """Records that the service itself could not carry the execution out; it ends ``failed``."""
        now = to_text(self._clock())

        def write(connection: Connection) -> None:
            self._guard(connection, lease, None)
            connection.execute(
                update(logs)
                .where(logs.c.executionId == lease.execution_id)
                .where(logs.c.status == NodeStatus.RUNNING)
                .values(status=NodeStatus.CANCELLED)
            )
            ended = Ending(ExecutionStatus.FAILED, error=error)
            self._end_execution(connection, lease, ended, now)

        await self._writer.run(write)

    def _end_execution(
        self, connection: Connection, lease: Lease, ending: Ending, now: str
    ) -> None:
        done = connection.execute(
            _IF_RUNNING.values(
                status=ending.status,
                completedAt=now,
                currentNodeId=None,
                nodeResults=ending.node_results,
                finalOutput=ending.final_output,
                error=ending.error,
            ),
            {"execution": lease.execution_id},
        )
        if done.rowcount != 1:
            raise LeaseLostError(lease.execution_id)
        connection.execute(
            update(runs)
            .where(runs.c.executionId == lease.execution_id)
            .values(endedAt=now, owner=None, leaseUntil=None)
        )

    def _guard(
        self,
        connection: Connection,
        lease: Lease,
        seq: int | None,
        progress: Progress | None = None,
    ) -> None:
        values: dict[str, object] = {
            "execution": lease.execution_id,
            "holder": lease.owner,
            "change": seq,
            "until": to_text(self._clock() + timedelta(seconds=lease.seconds)),
        }
        if progress is not None:
            values["completed"] = progress.completed
            values["failed"] = progress.failed
            values["skipped"] = progress.skipped
        held = connection.execute(_HOLD if progress is None else _HOLD_AND_PROGRESS, values)
        if held.rowcount != 1:
            raise LeaseLostError(lease.execution_id)

    def _end_nodes(
        self, connection: Connection, lease: Lease, seq: int, ended: Sequence[NodeEnded]
    ) -> int:
        if ended:
            connection.execute(
                _END_NODE,
                [
                    {
                        "row": _row_id(lease, node.node_id),
                        "ends": node.status,
                        "output": node.output_data,
                        "detail": node.detail,
                        "reason": node.error,
                        "took": node.duration,
                        "change": seq + i,
                    }
                    for i, node in enumerate(ended, start=1)
                ],
            )
        return seq + len(ended)

    def _begin_nodes(
        self,
        connection: Connection,
        lease: Lease,
        seq: int,
        skipped: Sequence[Node],
        started: Sequence[NodeStarted],
    ) -> None:
        now = to_text(self._clock())
        fresh: list[dict[str, object]] = []
        again: list[dict[str, object]] = []
        for node in skipped:
            seq += 1
            row = _new_row(lease, node, NodeStatus.SKIPPED, seq, now)
            fresh.append({**row, "inputData": None, "attempt": None})
        for start in started:
            seq += 1
            if start.resumed:
                again.append(
                    {
                        "row": _row_id(lease, start.node.id),
                        "input": start.input_data,
                        "tries": start.attempt,
                        "change": seq,
                        "at": now,
                    }
                )
            else:
                row = _new_row(lease, start.node, NodeStatus.RUNNING, seq, now)
                fresh.append({**row, "inputData": start.input_data, "attempt": start.attempt})
        if fresh:
            # A write whose commit was not confirmed is made again; its rows are there then.
            connection.execute(insert_if_new(connection, logs), fresh)
        if again:
            connection.execute(_START_AGAIN, again)


def _row_id(lease: Lease, node_id: str) -> str:
    return f"{lease.execution_id}:{node_id}"


def _new_row(lease: Lease, node: Node, status: NodeStatus, seq: int, now: str) -> dict[str, object]:
    return {
        "id": _row_id(lease, node.id),
        "executionId": lease.execution_id,
        "nodeId": node.id,
        "nodeType": node.type,
        "nodeLabel": node.label,
        "status": status,
        "seq": seq,
        "startSeq": seq,
        "timestamp": now,
    }
