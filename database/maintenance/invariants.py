"""Invariants: conditions that are true in every database at any time, for ``./start.sh --check``.

Each invariant is a query for the rows that violate it. The queries ignore executions of the main
project, ended executions with an unknown status, and rows that other programs added to the logs.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, and_, func, literal, not_, or_, select

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.tables import (
    CLAIMABLE_NOW,
    callbacks,
    children,
    definitions,
    events,
    executions,
    logs,
    runs,
)
from engine.status import TERMINAL, ExecutionStatus, NodeStatus

CLAIM_GRACE_SECONDS = 5.0
"""Maximum time between the end of a lease and the next claim, in seconds."""
MAX_SHOWN_VIOLATIONS = 20
"""Maximum number of reported rows for each invariant."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant and a row that violates it."""

    invariant: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.invariant}"


async def find_violations(reader: Reader, clock: Clock, *, service_runs: bool) -> list[Violation]:
    """Return the violations of all invariants, from one consistent snapshot.

    Expired leases are only violations if ``service_runs``, because a service would claim them.
    """
    checks: dict[str, Select[*tuple[Any, ...]]] = {
        **_statuses(),
        **_bookkeeping(),
        **_node_runs(),
        **_callbacks(),
        **_calls(),
    }
    if service_runs:
        checks.update(_ownership(to_text(clock() - timedelta(seconds=CLAIM_GRACE_SECONDS))))
    return await reader.run(
        lambda connection: [
            Violation(invariant, " ".join(str(value) for value in row))
            for invariant, query in checks.items()
            for row in connection.execute(query.limit(MAX_SHOWN_VIOLATIONS))
        ]
    )


_HAS_KNOWN_STATUS = func.coalesce(executions.c.status, ExecutionStatus.PENDING).in_(
    list(ExecutionStatus)
)
_ALL_OWN = select(executions.c.id).join(runs, runs.c.executionId == executions.c.id)
_OWN = _ALL_OWN.where(_HAS_KNOWN_STATUS)
_ENDED = executions.c.status.in_(TERMINAL)
_ENDED_BY_SERVICE = runs.c.endedElsewhere.is_(None)
"""Condition for executions that no other program has ended, which have all results."""


def _statuses() -> dict[str, Select[Any]]:
    status = executions.c.status
    completed = status == ExecutionStatus.COMPLETED
    done = runs.c.completedNodes + runs.c.failedNodes + runs.c.skippedNodes
    return {
        "an execution has one of the known statuses": _ALL_OWN.where(
            or_(status.is_(None), not_(_HAS_KNOWN_STATUS)),
            runs.c.endedAt.is_(None),
            _ENDED_BY_SERVICE,
        ),
        "an ended execution has an end time": _OWN.where(
            _ENDED, or_(executions.c.completedAt.is_(None), runs.c.endedAt.is_(None))
        ),
        "only an ended execution has an end time": _OWN.where(
            not_(_ENDED),
            _ENDED_BY_SERVICE,
            or_(executions.c.completedAt.is_not(None), runs.c.endedAt.is_not(None)),
        ),
        "a failed execution has an error": _OWN.where(
            status == ExecutionStatus.FAILED, func.coalesce(executions.c.error, "") == ""
        ),
        "a completed execution has its output and its node results, and no error": _OWN.where(
            completed,
            _ENDED_BY_SERVICE,
            or_(
                executions.c.finalOutput.is_(None),
                executions.c.nodeResults.is_(None),
                executions.c.error.is_not(None),
            ),
        ),
        "every node of a completed execution is done": _OWN.where(
            completed, _ENDED_BY_SERVICE, done != runs.c.totalNodes
        ),
        "no more nodes are done than exist": _OWN.where(done > runs.c.totalNodes),
        "only an execution that has not ended has a current node": _OWN.where(
            _ENDED, executions.c.currentNodeId.is_not(None)
        ),
    }


def _bookkeeping() -> dict[str, Select[Any]]:
    status = executions.c.status
    running = status == ExecutionStatus.RUNNING
    return {
        "an execution runs if and only if it has an owner": _OWN.where(
            or_(
                and_(running, runs.c.owner.is_(None)),
                and_(not_(running), runs.c.owner.is_not(None)),
            )
        ),
        "a lease has an end": _OWN.where(
            runs.c.owner.is_not(None),
            func.coalesce(runs.c.claimableAt, CLAIMABLE_NOW) == CLAIMABLE_NOW,
        ),
        "an ended execution is not claimable": _OWN.where(_ENDED, runs.c.claimableAt.is_not(None)),
        "a pending execution is claimable": _OWN.where(
            status == ExecutionStatus.PENDING, runs.c.claimableAt.is_(None)
        ),
        "the definition of an execution exists": _OWN.outerjoin(
            definitions, definitions.c.hash == runs.c.definitionHash
        ).where(definitions.c.hash.is_(None)),
    }


def _node_runs() -> dict[str, Select[*tuple[Any, ...]]]:
    every_row = (
        select(logs.c.executionId, logs.c.nodeId)
        .join(runs, runs.c.executionId == logs.c.executionId)
        .join(executions, executions.c.id == logs.c.executionId)
        .where(_HAS_KNOWN_STATUS)
    )
    own_rows = every_row.where(logs.c.startSeq.is_not(None))
    node_status = logs.c.status
    return {
        "a node has one row in an execution": (
            every_row.with_only_columns(logs.c.executionId, logs.c.nodeId)
            .group_by(logs.c.executionId, logs.c.nodeId)
            .having(func.count() > 1)
        ),
        "a node run has one of the known statuses": own_rows.where(
            or_(node_status.is_(None), node_status.not_in(list(NodeStatus)))
        ),
        "no node runs or waits in an execution that ended": own_rows.where(
            _ENDED, node_status.in_([NodeStatus.RUNNING, NodeStatus.WAITING])
        ),
        "a node runs only in an execution that runs": own_rows.where(
            node_status == NodeStatus.RUNNING,
            executions.c.status != ExecutionStatus.RUNNING,
        ),
        "a completed node has its output": own_rows.where(
            node_status == NodeStatus.COMPLETED, logs.c.outputData.is_(None)
        ),
        "a failed node has an error": own_rows.where(
            node_status == NodeStatus.ERROR, func.coalesce(logs.c.error, "") == ""
        ),
        "a node that waits for its next attempt has its time and the last error": own_rows.where(
            node_status == NodeStatus.WAITING,
            logs.c.resultDetail.is_(None),
            or_(logs.c.waitUntil.is_(None), func.coalesce(logs.c.lastError, "") == ""),
        ),
        "only a waiting node has a waiting time": own_rows.where(
            node_status != NodeStatus.WAITING, logs.c.waitingSince.is_not(None)
        ),
        "a node run that has not ended has no end time": own_rows.where(
            node_status.in_([NodeStatus.RUNNING, NodeStatus.WAITING]), logs.c.endedAt.is_not(None)
        ),
        "no row is newer than its execution": own_rows.where(logs.c.seq > runs.c.seq),
        "the events of an execution have no gap": (
            _OWN.join(events, events.c.executionId == executions.c.id)
            .group_by(executions.c.id, runs.c.seq)
            .having(
                or_(
                    func.max(events.c.seq) != runs.c.seq,
                    func.count() != func.max(events.c.seq) - func.min(events.c.seq) + 1,
                )
            )
        ),
        "the last event of an ended execution is its end": _OWN.join(
            events, and_(events.c.executionId == executions.c.id, events.c.seq == runs.c.seq)
        ).where(_ENDED, or_(events.c.status != executions.c.status, events.c.nodeId.is_not(None))),
        "a parked execution has a waiting node": _OWN.where(
            executions.c.status == ExecutionStatus.WAITING,
            ~select(literal(1))
            .where(logs.c.executionId == executions.c.id)
            .where(node_status == NodeStatus.WAITING)
            .exists(),
        ),
    }


def _callbacks() -> dict[str, Select[Any]]:
    notified = _OWN.join(callbacks, callbacks.c.executionId == executions.c.id)
    due, sender = callbacks.c.dueAt, callbacks.c.owner
    delivered, abandoned = callbacks.c.deliveredAt, callbacks.c.abandonedAt
    settled = or_(delivered.is_not(None), abandoned.is_not(None))
    return {
        "a callback is due, delivered or abandoned only if its execution has ended": notified.where(
            not_(_ENDED), or_(due.is_not(None), settled)
        ),
        "the callback of an ended execution is due, delivered or abandoned": notified.where(
            _ENDED, due.is_(None), not_(settled)
        ),
        "a callback that is delivered or abandoned is not due": notified.where(
            settled, due.is_not(None)
        ),
        "a callback is not both delivered and abandoned": notified.where(
            delivered.is_not(None), abandoned.is_not(None)
        ),
        "a callback with an owner is due when its lease ends": notified.where(
            sender.is_not(None), or_(due.is_(None), callbacks.c.attempts == 0)
        ),
        "a delivered callback was sent": notified.where(
            delivered.is_not(None), callbacks.c.attempts == 0
        ),
    }


def _calls() -> dict[str, Select[*tuple[Any, ...]]]:
    parents = executions.alias("parent")
    waiting = (
        select(logs.c.executionId, logs.c.nodeId, logs.c.childExecutionId)
        .join(runs, runs.c.executionId == logs.c.executionId)
        .outerjoin(children, children.c.executionId == logs.c.childExecutionId)
        .where(logs.c.status == NodeStatus.WAITING, logs.c.childExecutionId.is_not(None))
        .where(logs.c.resumption.is_(None))
    )
    ended = executions.c.status.in_(TERMINAL)
    return {
        "a node that waits for a child will be notified": waiting.where(
            or_(children.c.executionId.is_(None), children.c.notifiedAt.is_not(None))
        ),
        "a node does not wait for a child that has ended": waiting.join(
            executions, executions.c.id == logs.c.childExecutionId
        ).where(ended),
        "the children of an ended execution have ended or are cancelled": (
            select(children.c.executionId, children.c.parentId)
            .join(runs, runs.c.executionId == children.c.executionId)
            .join(parents, parents.c.id == children.c.parentId)
            .where(parents.c.status.in_(TERMINAL))
            .where(runs.c.endedAt.is_(None), runs.c.cancelRequestedAt.is_(None))
        ),
    }


def _ownership(before: str) -> dict[str, Select[Any]]:
    return {
        "no execution stays running without an owner": _OWN.where(
            executions.c.status == ExecutionStatus.RUNNING, runs.c.claimableAt < before
        ),
    }
