"""Schedule records: schedules, changes of workflows, and instants to start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from database.executions.inputs import Submission

SkipReason = Literal["overlap", "misfire", "invalid"]
"""Why an instant starts no execution: the one before it runs, it is missed, or the workflow cannot
run."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule node of a saved workflow; see ``tables.schedules``."""

    id: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    node_id: str
    settings: str | None
    error: str | None
    next_at: str | None
    due_at: str | None
    handled_at: str
    blocked_by: str | None
    paused_at: str | None
    last_instant: str | None
    last_execution_id: str | None
    last_skipped_instant: str | None
    last_skip_reason: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class NextInstant:
    """The next instant of a schedule, and the time from which it may be handled."""

    next_at: str | None
    due_at: str | None


@dataclass(frozen=True, slots=True)
class FoundSchedule:
    """A schedule node as a document contains it."""

    id: str
    node_id: str
    settings: str | None
    error: str | None
    next: NextInstant


@dataclass(frozen=True, slots=True)
class WorkflowVersion:
    """The version of a workflow that was searched for schedules."""

    workflow_id: str
    updated_at: str
    size: int
    document: str | None
    """The document; ``None`` if it cannot contain a schedule."""


@dataclass(frozen=True, slots=True)
class WorkflowSchedules:
    """The schedules of one version of a workflow."""

    version: WorkflowVersion
    hash: str | None
    found: Sequence[FoundSchedule]


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant of a schedule, and the execution to store for it."""

    at: str
    submission: Submission


@dataclass(frozen=True, slots=True)
class Firing:
    """The instants of a schedule to handle now, oldest first, and the next one after them."""

    schedule: Schedule
    overlap: str
    instants: Sequence[Instant]
    next: NextInstant
    skipped: tuple[str, SkipReason] | None = None
    """The last instant that starts no execution, and the reason."""


@dataclass(frozen=True, slots=True)
class Fired:
    """The result of a firing."""

    started: Sequence[str]
    """Ids of the new executions."""
    stopped: Sequence[str] = ()
    """Ids of running executions that their owners must stop."""
    is_queue_full: bool = False


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """Maximum numbers of queued executions above which a schedule waits."""

    total: int
    per_organization: int
