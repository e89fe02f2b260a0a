"""Recorded calls: the spans of node runs and of outgoing requests."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from opentelemetry.trace import Span, SpanKind

from tracing.context import TRACEPARENT, TRACESTATE, TraceContext
from tracing.ids import execution_context, headers_of, link_kind
from tracing.span_factory import Attributes, SpanFactory, never_raises
from tracing.spans import (
    NO_CALL,
    CallResult,
    CallSpan,
    ModelReply,
    ModelRequest,
    NodeSpan,
    TracedNode,
)

NODE_START_DELAY_SECONDS = 0.25
"""Time after which the start of a running node is exported, in seconds. A node that ends earlier
has one span instead of two."""


def span_name(node: TracedNode) -> str:
    """Return the name of the spans of a node."""
    return f"{node.type} {node.label or node.run_id.partition('[')[0]}"


class RecordedCall(CallSpan):
    """The span of one outgoing request."""

    __slots__ = ("_span", "_spans")

    def __init__(self, spans: SpanFactory, span: Span) -> None:
        self._spans = spans
        self._span = span

    @property
    @never_raises(cast("Mapping[str, str]", MappingProxyType({})))
    def headers(self) -> Mapping[str, str]:
        """The trace headers of the request."""
        return headers_of(self._span)

    @never_raises(None)
    def replied(self, reply: ModelReply) -> None:
        """Record the reply of a model."""
        self._span.set_attributes(
            self._spans.attributes(
                {
                    "gen_ai.response.id": reply.id,
                    "gen_ai.response.model": reply.model,
                    "gen_ai.response.finish_reasons": list(reply.finish_reasons) or None,
                    "gen_ai.usage.input_tokens": reply.input_tokens,
                    "gen_ai.usage.output_tokens": reply.output_tokens,
                }
            )
        )

    @never_raises(None)
    def end(self, error: str | None = None, status_code: int | None = None) -> None:
        """End the span. ``error`` is the reason of a failure."""
        if status_code is not None:
            self._span.set_attribute("http.response.status_code", status_code)
        if error is not None:
            self._span.set_attribute("error.type", str(status_code or "_OTHER"))
            self._spans.fail(self._span, error)
        self._span.end()


class RecordedNode(RecordedCall, NodeSpan):
    """The span of one node run."""

    __slots__ = ("_timer",)

    def __init__(self, spans: SpanFactory, span: Span, node: TracedNode) -> None:
        super().__init__(spans, span)
        attributes: Attributes = {"workflow.node.id": node.run_id, "workflow.node.type": node.type}
        self._timer = asyncio.get_running_loop().call_later(
            NODE_START_DELAY_SECONDS, spans.mark_start, span, span_name(node), attributes
        )

    @never_raises(None)
    def attempt_failed(self, attempt: int, error: str) -> None:
        """Record a failed attempt that another one follows."""
        values: Attributes = {"workflow.node.attempt": attempt, "error.message": error}
        self._span.add_event("attempt_failed", self._spans.attributes(values))

    @never_raises(cast("TraceContext | None", None))
    def child_started(self, execution_id: str) -> TraceContext | None:
        """Link to a child execution; return the trace context that the child refers to."""
        self._span.add_link(execution_context(execution_id, None), link_kind("child"))
        headers = headers_of(self._span)
        return TraceContext(headers[TRACEPARENT], headers.get(TRACESTATE, ""), is_link=True)

    @never_raises(NO_CALL)
    def model_request(self, request: ModelRequest) -> CallSpan:
        """Start the span of a request to a model, by the conventions for generative AI."""
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",  # the protocol, because the server is not known
            "gen_ai.request.model": request.model,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.output.type": request.output_type,
            "server.address": request.host,
            "server.port": request.port,
        }
        name = f"chat {request.model}"
        span = self._spans.span(name, self._span, attributes, SpanKind.CLIENT)
        return RecordedCall(self._spans, span)

    @never_raises(None)
    def end_run(
        self, result: CallResult, error: str | None = None, status_code: int | None = None
    ) -> None:
        """End the span. ``status_code`` is the HTTP status that the node received."""
        self._timer.cancel()
        self._span.set_attribute("workflow.node.result", result)
        self.end(error, status_code)
