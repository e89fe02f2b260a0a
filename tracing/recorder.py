"""Trace recorder: records executions and node runs as OpenTelemetry spans.

The ids of the trace, of the execution's span and of each run's span follow from the id of the
execution. So every process that continues an execution, after a wait, a crash or a lost lease,
adds to the same trace, and no process needs to store or pass on more than the execution.
"""

from collections.abc import Callable
from contextlib import suppress
from time import time_ns

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind

from tracing.ids import StableIds, link_kind, span_id_of, with_span_id
from tracing.recorded_calls import RecordedCall, RecordedNode, span_name
from tracing.span_factory import Attributes, SpanFactory, never_raises
from tracing.spans import (
    NO_CALL,
    NO_SPAN,
    NO_TRACE,
    CallSpan,
    ExecutionTrace,
    NodeSpan,
    RunEnd,
    TracedExecution,
    TracedNode,
    Tracer,
)

CLIENT_TYPES = frozenset({"http", "sql"})
"""Node types whose span is that of an outgoing request. An ``llm`` node has a span for each."""


class Recorder(Tracer):
    """Records the executions of a process."""

    def __init__(
        self, provider: TracerProvider, ids: StableIds, mask: Callable[[str], str]
    ) -> None:
        self._provider = provider
        self._spans = SpanFactory(provider, ids, mask)

    @never_raises(NO_TRACE)
    def execution(self, execution: TracedExecution) -> ExecutionTrace:
        """Return the trace of an execution that was claimed."""
        return _RecordedExecution(self._spans, execution, self._spans.execution_span(execution))

    @never_raises(NO_CALL)
    def callback(self, execution: TracedExecution, host: str, attempt: int) -> CallSpan:
        """Start the span of an attempt to send a callback."""
        name, _, port = host.partition(":")
        attributes = {
            "server.address": name,
            "server.port": int(port) if port.isdecimal() else None,
            "workflow.execution.id": execution.execution_id,
            "workflow.callback.attempt": attempt,
        }
        parent = self._spans.execution_span(execution)
        return RecordedCall(
            self._spans, self._spans.span("callback", parent, attributes, SpanKind.CLIENT)
        )

    def shutdown(self) -> None:
        """Export the recorded spans and close the connection. It may block for seconds."""
        with suppress(Exception):
            self._provider.shutdown()


class _RecordedExecution(ExecutionTrace):
    """The trace of one execution, in one run."""

    __slots__ = ("_execution", "_root", "_run", "_spans")

    def __init__(self, spans: SpanFactory, execution: TracedExecution, root: Span) -> None:
        self._spans = spans
        self._execution = execution
        self._root = root
        self._run: Span | None = None

    @property
    def trace_id(self) -> str | None:
        """The id of the trace in hexadecimal digits; ``None`` if it is not exported."""
        return (
            f"{self._root.get_span_context().trace_id:032x}" if self._root.is_recording() else None
        )

    @never_raises(None)
    def run_started(self, flow_run_id: str) -> None:
        """Start the span of the run, and export its start."""
        execution, spans = self._execution, self._spans
        links: list[Link] = []
        if execution.last_flow_run_id:
            previous = span_id_of(execution.execution_id, execution.last_flow_run_id)
            context = with_span_id(self._root.get_span_context(), previous)
            links.append(Link(context, link_kind("previous_run")))
        attributes: Attributes = {
            "workflow.execution.id": execution.execution_id,
            "workflow.flow_run.id": flow_run_id,
        }
        self._run = spans.span(
            "run",
            self._root,
            attributes,
            links=links,
            span_id=span_id_of(execution.execution_id, flow_run_id),
        )
        names: Attributes = {"workflow.id": execution.workflow_id}
        spans.mark_start(self._run, execution.workflow_name, {**attributes, **names})

    @never_raises(NO_SPAN)
    def node(self, node: TracedNode) -> NodeSpan:
        """Start the span of a node run."""
        kind = SpanKind.CLIENT if node.type in CLIENT_TYPES else SpanKind.INTERNAL
        span = self._spans.span(span_name(node), self._parent, self._attributes(node), kind)
        return RecordedNode(self._spans, span, node)

    @never_raises(None)
    def node_resumed(self, node: TracedNode, waited_ms: int | None, error: str | None) -> None:
        """Record the end of a wait as a span that has the duration of the wait."""
        now = time_ns()
        start = now - (waited_ms or 0) * 1_000_000
        attributes = self._attributes(node)
        span = self._spans.span(
            f"{span_name(node)} waited", self._parent, attributes, start_time=start
        )
        if error is not None:
            self._spans.fail(span, error)
        span.end(now)

    @never_raises(None)
    def end(self, end: RunEnd) -> None:
        """End the span of the run, and that of the execution if it has ended."""
        spans = self._spans
        values = {"workflow.execution.status": end.status, "workflow.run.end": end.reason}
        attributes = spans.attributes(values)
        ended = [self._run] if self._run else []
        if end.status is not None:
            ended.append(self._root)
        for span in ended:
            span.set_attributes(attributes)
            if end.error is not None:
                spans.fail(span, end.error)
            span.end()

    @property
    def _parent(self) -> Span:
        return self._run or self._root

    def _attributes(self, node: TracedNode) -> Attributes:
        return {
            "workflow.execution.id": self._execution.execution_id,
            "workflow.node.id": node.run_id,
            "workflow.node.type": node.type,
            "workflow.node.label": node.label,
            "workflow.node.attempt": node.attempt,
        }
