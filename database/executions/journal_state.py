"""Journal state: builds the state of an execution from its rows."""

from collections.abc import Sequence
from typing import Any

from database.encryption import DataEncryption
from database.executions.journal_records import JournalState
from database.executions.node_runs import attempts_so_far, outcome_of, parked_node, time_spent
from database.foreign_values import text_of
from database.records import MANUAL
from engine.parking import ParkedNode, ParkedRetry
from engine.plan import Outcome
from engine.status import DECIDED, NodeStatus
from offload import check_stop


def build_journal_state(
    execution_id: str, head: Any, rows: Sequence[Any], encryption: DataEncryption
) -> JournalState:
    """Return the state of an execution; ``head`` is its own row, ``rows`` are its node runs."""
    outcomes: dict[str, Outcome] = {}
    parked: dict[str, ParkedNode | ParkedRetry] = {}
    for row in rows:
        check_stop()
        if outcome := outcome_of(row, encryption):
            outcomes[row.nodeId] = outcome
        elif row.status == NodeStatus.WAITING:
            parked[row.nodeId] = parked_node(row, encryption)
    return JournalState(
        execution_id,
        head.document,
        text_of(head.inputs),
        head.seq,
        head.cancelRequestedAt is not None,
        outcomes=outcomes,
        parked=parked,
        attempts={row.nodeId: begun for row in rows if (begun := attempts_so_far(row))},
        failed_attempts={
            row.nodeId: row.failedAttempts
            for row in rows
            if row.failedAttempts and row.status not in DECIDED
        },
        times={row.nodeId: time_spent(row) for row in rows if row.status not in DECIDED},
        trigger_type=text_of(head.triggerType) or MANUAL,
        parent_id=head.parentId,
        request=head.request,
        stored_bytes=head.storedBytes or 0,
    )
