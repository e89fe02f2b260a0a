"""Inputs of the write side: submissions, child executions and results to store."""

from dataclasses import dataclass

from database.records import MANUAL
from engine.plan import Progress


@dataclass(frozen=True, slots=True)
class Submission:
    """An execution that is accepted and shall be stored. ``inputs`` and ``document`` are JSON."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    document: str
    inputs: str | None
    total_nodes: int
    trigger_type: str = MANUAL
    unsaved: bool = False
    """Whether its document came with the request; see ``unsaved.UNSAVED``."""
    idempotency: "IdempotencyKey | None" = None
    callback_url: str | None = None
    rerun_of: str | None = None
    reused_nodes: tuple[str, ...] = ()
    """Node ids whose results the rerun takes from the execution it repeats."""
    progress: Progress | None = None
    """How far it is from the start, where results are taken over."""
    request: str | None = None
    """The request of a webhook delivery, as JSON text; a rerun takes over the one it repeats."""


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node calls: it is stored with the parking of that node."""

    submission: Submission
    depth: int
    """1 where the parent came from outside."""
    root_id: str
    """The execution from outside to which the chain of calls goes back."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key for one request; ``body_hash`` tells requests apart."""

    organization: str
    key: str
    body_hash: str
