"""Invariants: conditions that are true in every database at any time, for ``./start.sh --check``.

Each invariant is a condition for the rows that violate it. The queries ignore executions of the
main project, ended executions with an unknown status, and rows that other programs added to the
logs.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from database.clock import Clock, to_text
from database.connection.reader import Reader
from database.payloads import REFERENCE_PREFIX
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
    checks = {
        **{name: f"{_OWN} AND ({violation})" for name, violation in _EXECUTIONS.items()},
        **{name: f"{_NODES} AND ({violation})" for name, violation in _NODE_RUNS.items()},
        **{name: f"{_NOTIFIED} AND ({violation})" for name, violation in _CALLBACKS.items()},
        **_OTHERS,
    }
    # An event that has expired may still be stored.
    checks["no event is kept while a node waits for it"] = (
        f"{_KEPT_EVENTS} AND x.expiresAt > '{to_text(clock())}'"
    )
    if service_runs:
        before = to_text(clock() - timedelta(seconds=CLAIM_GRACE_SECONDS))
        unclaimed = f"e.status = 'running' AND r.claimableAt < '{before}'"
        checks["no execution stays running without an owner"] = f"{_OWN} AND {unclaimed}"
    return await reader.run(
        lambda connection: [
            Violation(invariant, " ".join(str(value) for value in row))
            for invariant, query in checks.items()
            for row in connection.execute(text(f"{_quoted(query)} LIMIT {MAX_SHOWN_VIOLATIONS}"))
        ]
    )


def _quoted(query: str) -> str:
    """Return a query with quoted columns, because PostgreSQL ignores the case of other names."""
    return re.sub(r"\b([a-z]+)\.(\w+)", r'\1."\2"', query)


def _values(statuses: list[str]) -> str:
    return "({})".format(", ".join(f"'{status}'" for status in sorted(statuses)))


_ENDED = _values(list(TERMINAL))
_JOINED = "FROM workflow_executions e JOIN orchestrator_runs r ON r.executionId = e.id"
_IS_KNOWN = f"coalesce(e.status, 'pending') IN {_values(list(ExecutionStatus))}"
_BY_SERVICE = "r.endedElsewhere IS NULL"
"""Condition for executions that no other program has ended, which have all results."""
_OWN = f"SELECT e.id {_JOINED} WHERE {_IS_KNOWN}"
_LOGS = f"SELECT l.executionId, l.nodeId {_JOINED} JOIN execution_logs l ON l.executionId = e.id"
_NODES = f"{_LOGS} WHERE {_IS_KNOWN} AND l.startSeq IS NOT NULL"
_NOTIFIED = f"SELECT e.id {_JOINED} JOIN orchestrator_callbacks c ON c.id = e.id WHERE {_IS_KNOWN}"
_EVENTS = "FROM orchestrator_events v WHERE v.executionId = e.id"
_DONE = "r.completedNodes + r.failedNodes + r.skippedNodes"


def _is_broken_reference(column: str) -> str:
    """Return the SQL condition that a column refers to a payload that its execution lacks."""
    first = len(REFERENCE_PREFIX) + 1
    return (
        f"(substr({column}, 1, {first - 1}) = '{REFERENCE_PREFIX}' AND NOT EXISTS"  # noqa: S608 - constants
        " (SELECT 1 FROM orchestrator_payload_uses u"
        " JOIN orchestrator_payloads p ON p.hash = u.payloadHash"
        f" WHERE u.executionId = e.id AND u.payloadHash = substr({column}, {first}, 64)))"
    )


_EXECUTIONS = {
    "an ended execution has an end time": (
        f"e.status IN {_ENDED} AND (e.completedAt IS NULL OR r.endedAt IS NULL)"
    ),
    "only an ended execution has an end time": (
        f"e.status NOT IN {_ENDED} AND {_BY_SERVICE}"
        " AND (e.completedAt IS NOT NULL OR r.endedAt IS NOT NULL)"
    ),
    "a failed execution has an error": "e.status = 'failed' AND coalesce(e.error, '') = ''",
    "the failure of a failed execution is recorded": (
        "e.status = 'failed' AND r.endedAt IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM orchestrator_failures f WHERE f.executionId = e.id)"
    ),
    "an execution that a failure started belongs to this failure": (
        "e.triggerType = 'failure' AND r.rerunOf IS NULL AND EXISTS"
        " (SELECT 1 FROM orchestrator_failures f WHERE f.executionId = r.failureOf"
        " AND coalesce(f.failureExecutionId, '') <> e.id)"
    ),
    "a completed execution has its output and its node results, and no error": (
        f"e.status = 'completed' AND {_BY_SERVICE}"
        " AND (e.finalOutput IS NULL OR e.nodeResults IS NULL OR e.error IS NOT NULL)"
    ),
    "every node of a completed execution is done": (
        f"e.status = 'completed' AND {_BY_SERVICE} AND {_DONE} <> r.totalNodes"
    ),
    "no more nodes are done than exist": f"{_DONE} > r.totalNodes",
    "only an execution that has not ended has a current node": (
        f"e.status IN {_ENDED} AND e.currentNodeId IS NOT NULL"
    ),
    "an execution runs if and only if it has an owner": (
        "(e.status = 'running' AND r.owner IS NULL)"
        " OR (e.status <> 'running' AND r.owner IS NOT NULL)"
    ),
    "a lease has an end": "r.owner IS NOT NULL AND coalesce(r.claimableAt, '') = ''",
    "an ended execution is not claimable": f"e.status IN {_ENDED} AND r.claimableAt IS NOT NULL",
    "a pending execution is claimable": "e.status = 'pending' AND r.claimableAt IS NULL",
    "the definition of an execution exists": (
        "NOT EXISTS (SELECT 1 FROM orchestrator_definitions d WHERE d.hash = r.definitionHash)"
    ),
    "the events of an execution have no gap": (
        f"r.seq <> (SELECT max(v.seq) {_EVENTS})"
        f" OR 1 <> (SELECT count(*) - max(v.seq) + min(v.seq) {_EVENTS})"
    ),
    "the last event of an ended execution is its end": (
        f"e.status IN {_ENDED} AND EXISTS (SELECT 1 {_EVENTS} AND v.seq = r.seq"
        " AND (v.status <> e.status OR v.nodeId IS NOT NULL))"
    ),
    "an execution that a schedule started has its instant": (
        "e.triggerType = 'schedule' AND r.rerunOf IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM orchestrator_schedule_runs u WHERE u.executionId = e.id)"
    ),
    "the payloads of an execution exist": " OR ".join(
        map(_is_broken_reference, ("e.inputs", "e.nodeResults", "e.finalOutput"))
    ),
    "a parked execution has a waiting node": (
        "e.status = 'waiting' AND NOT EXISTS (SELECT 1 FROM execution_logs l"
        " WHERE l.executionId = e.id AND l.status = 'waiting')"
    ),
}

_NODE_RUNS = {
    "a node run has one of the known statuses": (
        f"l.status IS NULL OR l.status NOT IN {_values(list(NodeStatus))}"
    ),
    "no node runs or waits in an execution that ended": (
        f"e.status IN {_ENDED} AND l.status IN ('running', 'waiting')"
    ),
    "a node runs only in an execution that runs": (
        "l.status = 'running' AND e.status <> 'running'"
    ),
    "a completed node has its output": "l.status = 'completed' AND l.outputData IS NULL",
    "a failed node has an error": "l.status = 'error' AND coalesce(l.error, '') = ''",
    "a node that waits for its next attempt has its time and the last error": (
        "l.status = 'waiting' AND l.resultDetail IS NULL AND l.waitUntil IS NOT NULL"
        " AND coalesce(l.lastError, '') = ''"
    ),
    "a node that waits without a result and a time has requested a permit": (
        "l.status = 'waiting' AND l.resultDetail IS NULL AND l.waitUntil IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM orchestrator_permits p"
        " WHERE p.executionId = l.executionId AND p.nodeRunId = l.id)"
    ),
    "only a waiting node has a waiting time": (
        "l.status <> 'waiting' AND l.waitingSince IS NOT NULL"
    ),
    "a node run that has not ended has no end time": (
        "l.status IN ('running', 'waiting') AND l.endedAt IS NOT NULL"
    ),
    "no row is newer than its execution": "l.seq > r.seq",
    "the payloads of a node run exist": " OR ".join(
        map(_is_broken_reference, ("l.inputData", "l.outputData"))
    ),
}

_SETTLED = "(c.deliveredAt IS NOT NULL OR c.abandonedAt IS NOT NULL)"
_CALLBACKS = {
    "a callback is due, delivered or abandoned only if its execution has ended": (
        f"e.status NOT IN {_ENDED} AND (c.dueAt IS NOT NULL OR {_SETTLED})"
    ),
    "the callback of an ended execution is due, delivered or abandoned": (
        f"e.status IN {_ENDED} AND c.dueAt IS NULL AND NOT {_SETTLED}"
    ),
    "a callback that is delivered or abandoned is not due": (f"{_SETTLED} AND c.dueAt IS NOT NULL"),
    "a callback is not both delivered and abandoned": (
        "c.deliveredAt IS NOT NULL AND c.abandonedAt IS NOT NULL"
    ),
    "a callback with an owner is due when its lease ends": (
        "c.owner IS NOT NULL AND (c.dueAt IS NULL OR c.attempts = 0)"
    ),
    "a delivered callback was sent": "c.deliveredAt IS NOT NULL AND c.attempts = 0",
}

_CALLING = (
    "SELECT l.executionId, l.nodeId, l.childExecutionId FROM execution_logs l"
    " JOIN orchestrator_runs r ON r.executionId = l.executionId"
    " LEFT JOIN orchestrator_children k ON k.executionId = l.childExecutionId"
    " LEFT JOIN workflow_executions e ON e.id = l.childExecutionId"
    " WHERE l.status = 'waiting' AND l.childExecutionId IS NOT NULL AND l.resumption IS NULL"
)
_TASKS = (
    "SELECT e.id, t.nodeId FROM orchestrator_tasks t"
    " JOIN workflow_executions e ON e.id = t.executionId"
    " LEFT JOIN execution_logs l ON l.executionId = t.executionId AND l.nodeId = t.nodeId"
    " AND l.startSeq IS NOT NULL"
)
_KEPT_EVENTS = (
    "SELECT x.id, w.executionId, w.nodeId FROM orchestrator_external_events x"
    " JOIN orchestrator_event_waits w ON w.organization = x.organization AND w.name = x.name"
    " AND w.key = x.key WHERE x.status = 'kept'"
)
_SCHEDULES = "SELECT s.id FROM orchestrator_schedules s"
_STARTED = "SELECT u.executionId, u.scheduleId, u.instant FROM orchestrator_schedule_runs u"
_OTHERS = {
    "a completed bulk operation has no pending item": (
        "SELECT b.id FROM orchestrator_bulk_operations b WHERE b.completedAt IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM orchestrator_bulk_items i"
        " WHERE i.bulkId = b.id AND i.status = 'pending')"
    ),
    "a bulk operation has all its items": (
        "SELECT b.id FROM orchestrator_bulk_operations b WHERE b.matched <>"
        " (SELECT count(*) FROM orchestrator_bulk_items i WHERE i.bulkId = b.id)"
    ),
    "a bulk operation that is not completed will continue": (
        "SELECT b.id FROM orchestrator_bulk_operations b"
        " WHERE (b.completedAt IS NULL) = (b.claimableAt IS NULL)"
    ),
    "an execution is the rerun of its item of a bulk operation": (
        "SELECT i.executionId, i.bulkId FROM orchestrator_bulk_items i"
        " JOIN orchestrator_runs r ON r.executionId = i.newExecutionId"
        " WHERE coalesce(r.rerunOf, '') <> i.executionId OR i.status <> 'succeeded'"
    ),
    "a failure with a failure workflow has one execution of it, or the reason for none": (
        "SELECT f.executionId FROM orchestrator_failures f"
        " WHERE (CASE WHEN f.failureExecutionId IS NULL THEN 0 ELSE 1 END)"
        " + (CASE WHEN f.failureError IS NULL THEN 0 ELSE 1 END)"
        " <> (CASE WHEN f.failureWorkflowId IS NULL THEN 0 ELSE 1 END)"
    ),
    "an approval that waits has an open task": (
        f"{_LOGS} LEFT JOIN orchestrator_tasks t"
        " ON t.executionId = l.executionId AND t.nodeId = l.nodeId"
        f" WHERE {_IS_KNOWN} AND l.status = 'waiting' AND l.resumption IS NULL"
        " AND l.nodeType IN ('approval', 'humanApproval') AND l.resultDetail IS NOT NULL"
        " AND (t.status IS NULL OR t.status <> 'open')"
    ),
    "the node of an open task waits for an answer": (
        f"{_TASKS} WHERE t.status = 'open'"
        " AND (l.status IS NULL OR l.status <> 'waiting' OR l.resumption IS NOT NULL)"
    ),
    "a node that waits for an event can receive it": (
        f"{_LOGS} LEFT JOIN orchestrator_event_waits w"
        " ON w.executionId = l.executionId AND w.nodeId = l.nodeId"
        f" WHERE {_IS_KNOWN} AND l.status = 'waiting' AND l.resumption IS NULL"
        " AND l.nodeType = 'waitForEvent' AND l.resultDetail IS NOT NULL AND w.nodeId IS NULL"
    ),
    "a node that can receive an event waits for it": (
        "SELECT w.executionId, w.nodeId FROM orchestrator_event_waits w"
        " JOIN workflow_executions e ON e.id = w.executionId"
        " LEFT JOIN execution_logs l ON l.executionId = w.executionId AND l.nodeId = w.nodeId"
        " AND l.startSeq IS NOT NULL WHERE l.status IS NULL OR l.status <> 'waiting'"
        " OR l.resumption IS NOT NULL"
    ),
    "a delivered event has a recipient and no payload, and a kept one has no recipient": (
        "SELECT x.id FROM orchestrator_external_events x"
        " WHERE (x.status = 'delivered' AND (x.deliveries = 0 OR x.payload IS NOT NULL))"
        " OR (x.status = 'kept' AND x.deliveries > 0)"
    ),
    "an ended task has an end time, and a completed one a decision": (
        f"{_TASKS} WHERE (t.status = 'open') <> (t.endedAt IS NULL)"
        " OR (t.status = 'completed') <> (t.approved IS NOT NULL)"
    ),
    "the assignees of a task have its status": (
        f"{_TASKS} JOIN orchestrator_task_assignees a ON a.taskId = t.id"
        " WHERE a.status <> t.status OR a.createdAt <> t.createdAt"
    ),
    "the callback of a task has a body, and is due, delivered or abandoned": (
        "SELECT c.executionId, c.id FROM orchestrator_callbacks c WHERE c.id <> c.executionId"  # noqa: S608 - constants
        f" AND (c.body IS NULL OR (c.dueAt IS NULL) <> {_SETTLED})"
    ),
    "a task is due if and only if it has a reminder or an escalation": (
        f"{_TASKS} WHERE (t.dueAt IS NULL) <> (t.nextReminderAt IS NULL AND t.escalatesAt IS NULL)"
        " OR (t.dueAt IS NOT NULL AND t.status <> 'open')"
    ),
    "a task counts its answers": (
        f"{_TASKS} WHERE t.approvals <> (SELECT count(*) FROM orchestrator_task_answers a"  # noqa: S608
        " WHERE a.taskId = t.id AND a.approved = 1)"
        " OR t.rejections <> (SELECT count(*) FROM orchestrator_task_answers a"
        " WHERE a.taskId = t.id AND a.approved = 0)"
    ),
    "a schedule that is active has the time of its next instant": (
        f"{_SCHEDULES} WHERE s.error IS NULL AND s.pausedAt IS NULL AND s.blockedBy IS NULL"
        " AND s.nextAt IS NOT NULL AND (s.dueAt IS NULL OR s.dueAt < s.nextAt)"
    ),
    "a schedule that is paused, blocked or invalid is not due": (
        f"{_SCHEDULES} WHERE s.dueAt IS NOT NULL AND (s.error IS NOT NULL"
        " OR s.pausedAt IS NOT NULL OR s.blockedBy IS NOT NULL OR s.nextAt IS NULL)"
    ),
    "a schedule has either settings or an error": (
        f"{_SCHEDULES} WHERE (s.settings IS NULL) = (s.error IS NULL)"
    ),
    "the execution of an instant exists": (
        f"{_STARTED} LEFT JOIN workflow_executions e ON e.id = u.executionId WHERE e.id IS NULL"
    ),
    "a payload has all its chunks": (
        "SELECT p.hash FROM orchestrator_payloads p WHERE p.characters <> (SELECT"
        " coalesce(sum(length(c.text)), 0) FROM orchestrator_payload_parts t"
        " JOIN orchestrator_chunks c ON c.hash = t.chunkHash WHERE t.payloadHash = p.hash)"
    ),
    "a chunk belongs to a payload": (
        "SELECT c.hash FROM orchestrator_chunks c WHERE NOT EXISTS"
        " (SELECT 1 FROM orchestrator_payload_parts t WHERE t.chunkHash = c.hash)"
    ),
    "no more permits of a limit are granted than it has": (
        "SELECT p.name FROM orchestrator_permits p WHERE p.grantedAt IS NOT NULL"
        " GROUP BY p.name HAVING count(*) > max(p.capacity)"
    ),
    "a node run that has ended holds no permit": (
        "SELECT p.executionId, p.nodeRunId FROM orchestrator_permits p"
        " JOIN orchestrator_runs r ON r.executionId = p.executionId AND r.owner = p.owner"
        " JOIN execution_logs l ON l.id = p.nodeRunId WHERE l.status IN ('completed', 'error')"
    ),
    "an execution has one of the known statuses": (
        f"SELECT e.id {_JOINED} WHERE (e.status IS NULL OR NOT {_IS_KNOWN})"
        f" AND r.endedAt IS NULL AND {_BY_SERVICE}"
    ),
    "a node has one row in an execution": (
        f"{_LOGS} WHERE {_IS_KNOWN} GROUP BY l.executionId, l.nodeId HAVING count(*) > 1"
    ),
    "a node that waits for a child will be notified": (
        f"{_CALLING} AND (k.executionId IS NULL OR k.notifiedAt IS NOT NULL)"
    ),
    "a node does not wait for a child that has ended": f"{_CALLING} AND e.status IN {_ENDED}",
    "the children of an ended execution have ended or are cancelled": (
        "SELECT k.executionId, k.parentId FROM orchestrator_children k"  # noqa: S608 - constants
        " JOIN orchestrator_runs r ON r.executionId = k.executionId"
        " JOIN workflow_executions e ON e.id = k.parentId"
        f" WHERE e.status IN {_ENDED} AND r.endedAt IS NULL AND r.cancelRequestedAt IS NULL"
    ),
}
