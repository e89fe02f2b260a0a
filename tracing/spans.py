"""Spans: the interface between the code that runs executions and OpenTelemetry.

The classes do nothing, so that callers need no condition. ``tracing.recorder`` overrides them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tracing.context import TraceContext

CallResult = Literal["completed", "failed", "parked", "cancelled"]


@dataclass(frozen=True, slots=True)
class EarlierExecution:
    """An execution that another one repeats (``rerun``), or whose failure it handles."""

    kind: str
    execution_id: str
    context: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class TracedExecution:
    """The data of a claimed execution that its trace contains."""

    execution_id: str
    workflow_id: str = ""
    workflow_name: str = ""
    organization_id: str | None = None
    trigger_type: str | None = None
    started_at: datetime | None = None
    """Start of its first run."""
    context: TraceContext | None = None
    """The trace context of its request, or of the node that called it."""
    earlier: EarlierExecution | None = None
    last_flow_run_id: str | None = None
    """The flow run of its previous run."""


@dataclass(frozen=True, slots=True)
class TracedNode:
    """The data of a node run that its span contains."""

    run_id: str
    """Id of the node, with the numbers of its loop items."""
    type: str
    label: str | None
    attempt: int
    """Number of the first attempt of this run, from 1."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How an uninterrupted run of an execution ended."""

    status: str | None = None
    """Status of the execution if it has ended."""
    error: str | None = None
    reason: str | None = None
    """Reason why the run ended before the execution."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a model, without its contents."""

    model: str
    host: str
    port: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    output_type: str = "text"


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The reply to a request to a model, without its contents."""

    id: str | None = None
    model: str | None = None
    finish_reasons: Sequence[str] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None


class CallSpan:
    """The span of one outgoing request."""

    __slots__ = ()

    @property
    def headers(self) -> Mapping[str, str]:
        """The trace headers of the request."""
        return {}

    def replied(self, reply: ModelReply) -> None:
        """Record the reply of a model."""

    def end(self, error: str | None = None, status_code: int | None = None) -> None:
        """End the span. ``error`` is the reason of a failure."""


class NodeSpan(CallSpan):
    """The span of one node run, from its start to its end or its parking."""

    __slots__ = ()

    def attempt_failed(self, attempt: int, error: str) -> None:
        """Record a failed attempt that another one follows."""

    def child_started(self, execution_id: str) -> TraceContext | None:
        """Link to a child execution; return the trace context that the child refers to."""

    def model_request(self, request: ModelRequest) -> CallSpan:
        """Start the span of a request to a model."""
        del request
        return NO_CALL

    def end_run(
        self, result: CallResult, error: str | None = None, status_code: int | None = None
    ) -> None:
        """End the span. ``status_code`` is the HTTP status that the node received."""


class ExecutionTrace:
    """The trace of one execution, in one uninterrupted run."""

    __slots__ = ()

    @property
    def trace_id(self) -> str | None:
        """The id of the trace in hexadecimal digits; ``None`` if it is not exported."""
        return None

    def run_started(self, flow_run_id: str) -> None:
        """Start the span of the run, and export its start."""

    def node(self, node: TracedNode) -> NodeSpan:
        """Start the span of a node run."""
        del node
        return NO_SPAN

    def node_resumed(self, node: TracedNode, waited_ms: int | None, error: str | None) -> None:
        """Record the end of a wait."""

    def end(self, end: RunEnd) -> None:
        """End the span of the run, and that of the execution if it has ended."""


class Tracer:
    """Records executions. Its methods return at once and raise no exceptions."""

    def execution(self, execution: TracedExecution) -> ExecutionTrace:
        """Return the trace of an execution that was claimed."""
        del execution
        return NO_TRACE

    def callback(self, execution: TracedExecution, host: str, attempt: int) -> CallSpan:
        """Start the span of an attempt to send a callback."""
        del execution, host, attempt
        return NO_CALL

    def shutdown(self) -> None:
        """Export the recorded spans and close the connection. It may block for seconds."""


NO_CALL = CallSpan()
NO_SPAN = NodeSpan()
NO_TRACE = ExecutionTrace()
