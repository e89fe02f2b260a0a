"""Journal state: reads the rows of an execution and builds its state from them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from database.encryption import DataEncryption
from database.executions.journal_records import JournalState, TimeSpent
from database.executions.node_runs import (
    attempts_so_far,
    is_own_row,
    outcome_of,
    parked_node,
    time_spent,
)
from database.foreign_values import text_of
from database.payloads import full_text
from database.records import MANUAL, Lease
from database.tables import children, definitions, executions, logs, requests, runs
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import Parked
from engine.status import DECIDED, NodeStatus
from offload import check_stop

_LOAD_RUN = (
    select(
        full_text(executions.c.inputs, executions.c.id).label("inputs"),
        executions.c.triggerType,
        definitions.c.document,
        runs.c.seq,
        runs.c.storedBytes,
        runs.c.cancelRequestedAt,
        children.c.parentId,
        requests.c.request,
    )
    .join(runs, runs.c.executionId == executions.c.id)
    .outerjoin(children, children.c.executionId == executions.c.id)
    .outerjoin(requests, requests.c.executionId == executions.c.id)
    .join(definitions, definitions.c.hash == runs.c.definitionHash)
    .where(executions.c.id == bindparam("execution"), runs.c.owner == bindparam("holder"))
)
_LOAD_NODES = (
    select(
        logs.c.nodeId,
        logs.c.status,
        full_text(logs.c.outputData, logs.c.executionId).label("outputData"),
        logs.c.resultDetail,
        logs.c.error,
        logs.c.attempt,
        logs.c.resumption,
        logs.c.waitUntil,
        logs.c.duration,
        logs.c.waitedMs,
        logs.c.waitingSince,
        logs.c.failedAttempts,
    )
    .where(logs.c.executionId == bindparam("execution"), is_own_row())
    .order_by(logs.c.seq)
)


def read_journal_rows(connection: Connection, lease: Lease) -> tuple[Any, Sequence[Any]]:
    """Return the own row of an execution, ``None`` if the lease is lost, and its node runs."""
    names = {"execution": lease.execution_id, "holder": lease.owner}
    head = connection.execute(_LOAD_RUN, names).first()
    return head, connection.execute(_LOAD_NODES, names).all()


def build_journal_state(
    execution_id: str, head: Any, rows: Sequence[Any], encryption: DataEncryption
) -> JournalState:
    """Return the state of an execution; ``head`` is its own row, ``rows`` are its node runs."""
    outcomes: dict[NodeRunKey, Outcome] = {}
    parked: dict[NodeRunKey, Parked] = {}
    attempts: dict[NodeRunKey, int] = {}
    failed_attempts: dict[NodeRunKey, int] = {}
    times: dict[NodeRunKey, TimeSpent] = {}
    for row in rows:
        check_stop()
        key = NodeRunKey.parse(row.nodeId)
        if outcome := outcome_of(row, encryption):
            outcomes[key] = outcome
        elif row.status == NodeStatus.WAITING:
            parked[key] = parked_node(row, encryption)
        if count := attempts_so_far(row):
            attempts[key] = count
        if row.status not in DECIDED:
            times[key] = time_spent(row)
            if row.failedAttempts:
                failed_attempts[key] = row.failedAttempts
    return JournalState(
        execution_id,
        head.document,
        text_of(head.inputs),
        head.seq,
        head.cancelRequestedAt is not None,
        outcomes=outcomes,
        parked=parked,
        attempts=attempts,
        failed_attempts=failed_attempts,
        times=times,
        trigger_type=text_of(head.triggerType) or MANUAL,
        parent_id=head.parentId,
        request=head.request,
        stored_bytes=head.storedBytes or 0,
    )
