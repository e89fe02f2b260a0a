"""Task records: tasks with their assignees and answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.human_tasks import TaskStatus


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """One answer to a task."""

    assignee: str | None
    """``None`` if the person is not known."""
    approved: bool
    answered_at: str


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list contains; ``None`` and an empty set do not filter."""

    organization_id: str | None = None
    assignee: str | None = None
    execution_id: str | None = None
    statuses: frozenset[TaskStatus] = frozenset()


@dataclass(frozen=True, slots=True)
class HumanTask:
    """A task of a node run that waits, or waited, for people."""

    id: str
    execution_id: str
    workflow_id: str
    workflow_name: str | None
    organization_id: str | None
    node_id: str
    node_label: str | None
    status: TaskStatus
    message: str | None
    form: str | None
    """JSON Schema of the data of an answer, as JSON."""
    assignees: Sequence[str]
    required: int
    approvals: int
    rejections: int
    approved: bool | None
    """The decision; ``None`` if there is none."""
    created_at: str
    expires_at: str | None
    ended_at: str | None
    reminders: int = 0
    """Number of reminders that were sent."""
    reminded_at: str | None = None
    escalated_at: str | None = None
    next_reminder_at: str | None = None
    escalates_at: str | None = None
    answers: Sequence[TaskAnswer] = ()
    """Only if one task was read."""

    @property
    def is_open(self) -> bool:
        """Whether the task waits for an answer."""
        return self.status == TaskStatus.OPEN

    @property
    def has_form(self) -> bool:
        """Whether the data of an answer must match a form."""
        return self.form is not None
