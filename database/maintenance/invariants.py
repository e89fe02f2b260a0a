"""What must be true of every database at every moment; ``./start.sh --check`` asks.

Each invariant is a query for the rows that break it. Rows without the service's bookkeeping are the
main project's own, and not looked at; nor are ended executions to which another program gave a
status of its own, and the values in rows that it added to an execution's logs.
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
"""How long after the end of a lease somebody must have claimed the execution."""
MAX_SHOWN_VIOLATIONS = 20
"""Broken rows that are named of each invariant."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and where."""

    invariant: str
    subject: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.invariant}"


async def find_violations(reader: Reader, clock: Clock, *, service_runs: bool) -> list[Violation]:
    """Every invariant that does not hold, in one consistent look at the database.

    ``service_runs`` says whether a service is there to claim what is claimable; without one, leases
    that ran out are nobody's fault.
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
"""Whether no other program has ended the execution: it has what the service writes at an end."""


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
        "an ended execution says when it ended": _OWN.where(
            _ENDED, or_(executions.c.completedAt.is_(None), runs.c.endedAt.is_(None))
        ),
        "only an ended execution says that it ended": _OWN.where(
            not_(_ENDED),
            _ENDED_BY_SERVICE,
            or_(executions.c.completedAt.is_not(None), runs.c.endedAt.is_not(None)),
        ),
        "a failed execution says why": _OWN.where(
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
        "no more nodes are done than there are": _OWN.where(done > runs.c.totalNodes),
        "a current node is one of an execution that goes on": _OWN.where(
            _ENDED, executions.c.currentNodeId.is_not(None)
        ),
    }


def _bookkeeping() -> dict[str, Select[Any]]:
    status = executions.c.status
    running = status == ExecutionStatus.RUNNING
    return {
        "an execution runs if and only if somebody owns it": _OWN.where(
            or_(
                and_(running, runs.c.owner.is_(None)),
                and_(not_(running), runs.c.owner.is_not(None)),
            )
        ),
        "what is owned is owned until a moment": _OWN.where(
            runs.c.owner.is_not(None),
            func.coalesce(runs.c.claimableAt, CLAIMABLE_NOW) == CLAIMABLE_NOW,
        ),
        "an ended execution is not claimable": _OWN.where(_ENDED, runs.c.claimableAt.is_not(None)),
        "what waits for a slot is claimable": _OWN.where(
            status == ExecutionStatus.PENDING, runs.c.claimableAt.is_(None)
        ),
        "the definition of an execution is kept": _OWN.outerjoin(
            definitions, definitions.c.hash == runs.c.definitionHash
        ).where(definitions.c.hash.is_(None)),
    }


def _node_runs() -> dict[str, Select[*tuple[Any, ...]]]:
    mine = (
        select(logs.c.executionId, logs.c.nodeId)
        .join(runs, runs.c.executionId == logs.c.executionId)
        .join(executions, executions.c.id == logs.c.executionId)
        .where(_HAS_KNOWN_STATUS)
    )
    every, mine = mine, mine.where(logs.c.startSeq.is_not(None))
    node_status = logs.c.status
    return {
        "a node has one row in an execution": (
            every.with_only_columns(logs.c.executionId, logs.c.nodeId)
            .group_by(logs.c.executionId, logs.c.nodeId)
            .having(func.count() > 1)
        ),
        "a node run has one of the known statuses": mine.where(
            or_(node_status.is_(None), node_status.not_in(list(NodeStatus)))
        ),
        "no node runs or waits in an execution that ended": mine.where(
            _ENDED, node_status.in_([NodeStatus.RUNNING, NodeStatus.WAITING])
        ),
        "a node runs only in an execution that runs": mine.where(
            node_status == NodeStatus.RUNNING,
            executions.c.status != ExecutionStatus.RUNNING,
        ),
        "a completed node has its output": mine.where(
            node_status == NodeStatus.COMPLETED, logs.c.outputData.is_(None)
        ),
        "a failed node says why": mine.where(
            node_status == NodeStatus.ERROR, func.coalesce(logs.c.error, "") == ""
        ),
        "a node that waits for its next attempt has its moment and the last error": mine.where(
            node_status == NodeStatus.WAITING,
            logs.c.resultDetail.is_(None),
            or_(logs.c.waitUntil.is_(None), func.coalesce(logs.c.lastError, "") == ""),
        ),
        "only a node that waits has a moment since which it does": mine.where(
            node_status != NodeStatus.WAITING, logs.c.waitingSince.is_not(None)
        ),
        "a node run that goes on has no end": mine.where(
            node_status.in_([NodeStatus.RUNNING, NodeStatus.WAITING]), logs.c.endedAt.is_not(None)
        ),
        "no row is newer than its execution": mine.where(logs.c.seq > runs.c.seq),
        "the events of an execution have no hole": (
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
        "a parked execution has a node that waits": _OWN.where(
            executions.c.status == ExecutionStatus.WAITING,
            ~select(literal(1))
            .where(logs.c.executionId == executions.c.id)
            .where(node_status == NodeStatus.WAITING)
            .exists(),
        ),
    }


def _callbacks() -> dict[str, Select[Any]]:
    mine = _OWN.join(callbacks, callbacks.c.executionId == executions.c.id)
    due, sender = callbacks.c.dueAt, callbacks.c.owner
    delivered, given_up = callbacks.c.deliveredAt, callbacks.c.abandonedAt
    settled = or_(delivered.is_not(None), given_up.is_not(None))
    return {
        "a callback is due, delivered or given up only when its execution has ended": mine.where(
            not_(_ENDED), or_(due.is_not(None), settled)
        ),
        "the callback of an ended execution is due, delivered or given up": mine.where(
            _ENDED, due.is_(None), not_(settled)
        ),
        "a callback that is delivered or given up is not due": mine.where(
            settled, due.is_not(None)
        ),
        "a callback is not both delivered and given up": mine.where(
            delivered.is_not(None), given_up.is_not(None)
        ),
        "a callback that somebody sends is due again when the lease ends": mine.where(
            sender.is_not(None), or_(due.is_(None), callbacks.c.attempts == 0)
        ),
        "a delivered callback was sent": mine.where(
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
        "a node that waits for what it called will be told": waiting.where(
            or_(children.c.executionId.is_(None), children.c.notifiedAt.is_not(None))
        ),
        "a node does not wait for a child that has ended": waiting.join(
            executions, executions.c.id == logs.c.childExecutionId
        ).where(ended),
        "no child goes on uncancelled when its parent has ended": (
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
