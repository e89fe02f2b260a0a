"""Records that several parts of the database package share."""

from dataclasses import dataclass

MANUAL = "manual"
"""The ``triggerType`` of an execution that a person or a program asked for."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A row of ``workflows``. ``data`` is JSON text as the editor saved it."""

    id: str
    name: str
    data: str
    organization_id: str | None


@dataclass(frozen=True, slots=True)
class SavedWorkflow:
    """A whole row of ``workflows``; ``data`` and ``tags`` are JSON text as somebody stored it."""

    id: str
    organization_id: str | None
    name: str
    data: str
    tags: str | None
    created_at: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True)
class WorkflowChange:
    """What an update makes of a workflow: the columns that it names, and no others."""

    name: str
    data: str
    tags: str | None = None
    keep_tags: bool = False
    """Whether ``tags`` stay as they are."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to one execution, until it is lost."""

    execution_id: str
    owner: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON column: its text, or the beginning of it if asked for cut; ``size`` in characters."""

    text: str
    size: int
    cut: bool = False
    """Whether there is more than ``text``."""
