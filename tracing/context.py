"""Trace context: the position in a trace that a request, an execution or a node run carries.

https://www.w3.org/TR/trace-context/ defines the headers ``traceparent`` and ``tracestate``.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass

from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The values of the two headers, and how an execution refers to them."""

    traceparent: str
    tracestate: str = ""
    is_link: bool = False
    """Whether the execution has a trace of its own with a link, as the child of a subworkflow node
    has. Otherwise it continues the trace of the request that started it."""

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> "TraceContext | None":
        """Return the context of a request; ``None`` if it has none, or an invalid one."""
        if TRACEPARENT not in headers:
            return None
        context = _PROPAGATOR.extract(headers)
        if not get_current_span(context).get_span_context().is_valid:
            return None
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, context)
        return cls(carrier[TRACEPARENT], carrier.get(TRACESTATE, ""))

    @classmethod
    def decode(cls, text: str | None) -> "TraceContext | None":
        """Return the context that ``encode`` returned as a string."""
        if text is None:
            return None
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):  # another program changed it
            return None

    def encode(self) -> str:
        """Return the context as a JSON string, for the database."""
        return json.dumps(asdict(self))

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that continues the trace."""
        state = {TRACESTATE: self.tracestate} if self.tracestate else {}
        return {TRACEPARENT: self.traceparent, **state}


_request: ContextVar[TraceContext | None] = ContextVar("request_trace_context", default=None)


def request_context() -> TraceContext | None:
    """Return the trace context of the request that the caller handles."""
    return _request.get()


@contextmanager
def use_request_context(context: TraceContext | None) -> Generator[None]:
    """Set the trace context of the current request during the block."""
    token = _request.set(context)
    try:
        yield
    finally:
        _request.reset(token)
