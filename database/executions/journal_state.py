"""Journal state: builds the state of an execution from its rows."""

from collections.abc import Sequence
from typing import Any

from database.encryption import DataEncryption
from database.executions.journal_records import JournalState, TimeSpent
from database.executions.node_runs import attempts_so_far, outcome_of, parked_node, time_spent
from database.foreign_values import text_of
from database.records import MANUAL
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import ParkedNode, ParkedRetry
from engine.status import DECIDED, NodeStatus
from offload import check_stop


def build_journal_state(
    execution_id: str, head: Any, rows: Sequence[Any], encryption: DataEncryption
) -> JournalState:
    """Return the state of an execution; ``head`` is its own row, ``rows`` are its node runs."""
    outcomes: dict[NodeRunKey, Outcome] = {}
    parked: dict[NodeRunKey, ParkedNode | ParkedRetry] = {}
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
