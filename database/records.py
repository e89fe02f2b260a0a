"""Records that several parts of the database package share."""

from dataclasses import dataclass

MANUAL = "manual"
"""The ``triggerType`` of an execution that was submitted through the API."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A row of ``workflows``; ``data`` and ``tags`` are JSON as another program stored it."""

    id: str
    name: str
    data: str
    organization_id: str | None
    tags: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowChange:
    """New content of a workflow."""

    name: str
    data: str
    tags: str | None = None
    keep_tags: bool = False
    """Whether an update does not change ``tags``."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to one execution, until it expires and another worker claims it."""

    execution_id: str
    owner: str
    seconds: float
    flow_run_id: str | None = None
    """Prefect flow run that the next change of the journal records, if no earlier one did."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON column: all its text or the first part of it; ``size`` is the whole length."""

    text: str
    size: int
    cut: bool = False
    """Whether ``text`` is incomplete."""
