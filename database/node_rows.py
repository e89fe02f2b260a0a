"""The rows of ``execution_logs``: one a node run, begun, ended and read back.

Whoever changes rows notes the events of it; see ``events``.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Integer, Row, and_, bindparam, case, func, select, update

from database.connection import insert_if_new
from database.events import note_nodes
from database.records import Lease, NodeDecided, NodeEnded, NodeStarted
from database.tables import logs, runs
from database.vault import Vault
from engine.document import Node
from engine.hiding import HIDDEN, hides
from engine.parking import ParkedNode, Resumption
from engine.plan import SKIPPED, Outcome
from engine.status import DECIDED, NodeStatus
from engine.values import JsonValue, encode_json

_HEARD_OF_ITS_CHILD = and_(
    logs.c.childExecutionId.is_not(None), bindparam("ends") != NodeStatus.WAITING
)
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
        seq=bindparam("change"),
        # What a child said is the output now. A parking that is written again leaves it alone.
        resumption=case((_HEARD_OF_ITS_CHILD, None), else_=logs.c.resumption),
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
        nodePercentage=None,
        nodeMessage=None,
    )
)
_CANCEL = (
    update(logs)
    .where(logs.c.id == bindparam("row"))
    .values(status=NodeStatus.CANCELLED, seq=bindparam("change"))
)


def end_nodes(connection: Connection, lease: Lease, seq: int, ended: Sequence[NodeEnded]) -> int:
    """Ends or parks node runs; gives the sequence number after them."""
    if ended:
        connection.execute(
            _END_NODE,
            [
                {
                    "row": row_id(lease, node.node_id),
                    "ends": node.status,
                    "output": node.output_data,
                    "detail": node.detail,
                    "reason": node.error,
                    "took": node.duration,
                    "until": node.wait_until,
                    "change": seq + i,
                }
                for i, node in enumerate(ended, start=1)
            ],
        )
    return seq + len(ended)


def begin_nodes(
    connection: Connection,
    lease: Lease,
    seq: int,
    decided: Sequence[NodeDecided],
    started: Sequence[NodeStarted],
    now: str,
) -> None:
    """Writes the rows of nodes that are decided without a run, and of nodes that begin."""
    fresh: list[dict[str, object]] = []
    again: list[dict[str, object]] = []
    for node in decided:
        seq += 1
        row = _new_row(lease, node.node, node.status, seq, now)
        fresh.append({**row, "outputData": node.output_data, "error": node.error})
    for start in started:
        seq += 1
        if start.resumed:
            again.append(
                {
                    "row": row_id(lease, start.node.id),
                    "input": _stored_input(start),
                    "tries": start.attempt,
                    "change": seq,
                    "at": now,
                }
            )
        else:
            row = _new_row(lease, start.node, NodeStatus.RUNNING, seq, now)
            fresh.append({**row, "inputData": _stored_input(start), "attempt": start.attempt})
    if fresh:
        # A write whose commit was not confirmed is made again; its rows are there then.
        connection.execute(insert_if_new(connection, logs), fresh)
    if again:
        connection.execute(_START_AGAIN, again)


IN_FLIGHT = (NodeStatus.RUNNING,)
UNENDED = (NodeStatus.RUNNING, NodeStatus.WAITING)


def cancel_node_runs(
    connection: Connection,
    execution_ids: Sequence[str],
    now: str,
    statuses: Sequence[NodeStatus] = IN_FLIGHT,
) -> None:
    """Logs as ``cancelled`` what of these executions has one of the statuses; each row takes a
    sequence number and has its event.
    """
    rows = connection.execute(
        select(logs.c.id, logs.c.executionId, runs.c.seq)
        .join(runs, runs.c.executionId == logs.c.executionId)
        .where(logs.c.executionId.in_(execution_ids), logs.c.status.in_(statuses))
        .order_by(logs.c.startSeq)
    ).all()
    changes: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        mine = changes.setdefault(row.executionId, [])
        mine.append((row.seq + len(mine) + 1, row.id))
    for execution_id, changed in changes.items():
        connection.execute(_CANCEL, [{"row": row, "change": seq} for seq, row in changed])
        connection.execute(
            update(runs).where(runs.c.executionId == execution_id).values(seq=changed[-1][0])
        )
        note_nodes(connection, execution_id, changed, now)


def outcome_of(row: Row[*tuple[Any, ...]], vault: Vault) -> Outcome | None:
    """How the node of a log row ended; ``None`` where it has not."""
    if row.status not in DECIDED:
        return None
    if row.status == NodeStatus.SKIPPED:
        return SKIPPED
    if row.status == NodeStatus.ERROR:
        return Outcome(NodeStatus.ERROR, error=row.error)
    return Outcome(NodeStatus.COMPLETED, _result(row, vault))


def parked_node(row: Row[*tuple[Any, ...]], vault: Vault) -> ParkedNode:
    """The node of a log row that waits."""
    resumption = Resumption.from_json(json.loads(row.resumption)) if row.resumption else None
    return ParkedNode(_result(row, vault), resumption)


def _stored_input(start: NodeStarted) -> str:
    return encode_json(dict(HIDDEN)) if hides(start.node) else start.input_data


def _result(row: Row[*tuple[Any, ...]], vault: Vault) -> dict[str, JsonValue]:
    detail: dict[str, JsonValue] = json.loads(row.resultDetail or "{}")
    if (sealed := vault.open(detail)) is not None:
        return sealed
    return {**detail, "outputData": json.loads(row.outputData) if row.outputData else None}


def row_id(lease: Lease, node_id: str) -> str:
    """The key of a node run's row: there cannot be two."""
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
    }
