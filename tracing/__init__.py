"""Tracing: OpenTelemetry traces of executions, if the standard variables name a collector.

The service imports this package always, and OpenTelemetry's SDK only when ``start_tracing`` finds
the variables. Until then, ``tracer()`` is a ``Tracer`` whose methods do nothing.
"""

from tracing.context import TRACEPARENT, TraceContext, request_context, use_request_context
from tracing.lifecycle import start_tracing, stop_tracing, tracer
from tracing.spans import (
    NO_SPAN,
    NO_TRACE,
    CallSpan,
    EarlierExecution,
    ExecutionTrace,
    ModelReply,
    ModelRequest,
    NodeSpan,
    RunEnd,
    TracedExecution,
    TracedNode,
    Tracer,
)

__all__ = [
    "NO_SPAN",
    "NO_TRACE",
    "TRACEPARENT",
    "CallSpan",
    "EarlierExecution",
    "ExecutionTrace",
    "ModelReply",
    "ModelRequest",
    "NodeSpan",
    "RunEnd",
    "TraceContext",
    "TracedExecution",
    "TracedNode",
    "Tracer",
    "request_context",
    "start_tracing",
    "stop_tracing",
    "tracer",
    "use_request_context",
]
