"""Submissions: executions to store."""

from dataclasses import dataclass

from database.records import MANUAL
from engine.outcome import Progress


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted execution. ``inputs``, ``document`` and ``request`` are JSON."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    document: str
    inputs: str | None
    total_nodes: int
    trigger_type: str = MANUAL
    unsaved: bool = False
    """Whether its document was part of the request; see ``inline_workflows``."""
    idempotency: "IdempotencyKey | None" = None
    callback_url: str | None = None
    rerun_of: str | None = None
    failure_of: str | None = None
    """The failed execution whose failure workflow it runs."""
    reused_nodes: tuple[str, ...] = ()
    """Ids of nodes whose results the rerun copies from the execution that it repeats."""
    progress: Progress | None = None
    """Initial progress, if results are copied."""
    request: str | None = None
    """Request of a webhook delivery; a rerun copies the one of the execution that it repeats."""
    trace_context: str | None = None
    """The place in a trace from which it was started, as ``tracing.TraceContext`` encodes it."""
    called_by: str | None = None
    """The execution whose ``http`` node sent the request, as the request claims."""


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node calls. One transaction stores it and parks the node."""

    submission: Submission
    depth: int
    """1 if the parent is a top-level execution."""
    root_id: str
    """Id of the top-level execution of the chain of calls."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's key for one request; different requests have different values of ``body_hash``."""

    organization: str
    key: str
    body_hash: str
