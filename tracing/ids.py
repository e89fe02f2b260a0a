"""Span identities: ids that follow from the id of an execution, and contexts of spans."""

import threading
from hashlib import sha256

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tracing.context import TraceContext

PROPAGATOR = TraceContextTextMapPropagator()


class StableIds(RandomIdGenerator):
    """Generates random ids, or those that this thread has set for the next span."""

    def __init__(self) -> None:
        self.next = _NextIds()

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        return self.next.trace_id or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        return self.next.span_id or super().generate_span_id()


class _NextIds(threading.local):
    trace_id: int | None = None
    span_id: int | None = None


def trace_id_of(execution_id: str) -> int:
    """Return the trace id of an execution that continues no other trace.

    It is a hash, because samplers need ids whose last bits are evenly distributed.
    """
    return int.from_bytes(sha256(f"trace:{execution_id}".encode()).digest()[:16]) or 1


def span_id_of(*parts: str) -> int:
    """Return the id of the span that these parts identify."""
    return int.from_bytes(sha256(":".join(("span", *parts)).encode()).digest()[:8]) or 1


def headers_of(span: Span) -> dict[str, str]:
    """Return the headers of a request that continues the trace at a span."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
    return carrier


def execution_context(execution_id: str, context: TraceContext | None) -> SpanContext:
    """Return the position of an execution's span; ``context`` is the execution's trace context."""
    trace_id = trace_id_of(execution_id)
    if context is not None and not context.is_link:
        parent = get_current_span(PROPAGATOR.extract(context.headers)).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else trace_id
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id, span_id_of(execution_id), is_remote=True, trace_flags=flags)


def with_span_id(context: SpanContext, span_id: int) -> SpanContext:
    """Return the position of another span of the same trace."""
    return SpanContext(context.trace_id, span_id, is_remote=True, trace_flags=context.trace_flags)


def link_to(context: TraceContext, kind: str) -> list[Link]:
    """Return a link to a stored context, unless it is invalid."""
    linked = get_current_span(PROPAGATOR.extract(context.headers)).get_span_context()
    return [Link(linked, link_kind(kind))] if linked.is_valid else []


def link_kind(kind: str) -> dict[str, str]:
    """Return the attributes of a link."""
    return {"workflow.link.kind": kind}
