"""Span factory: creates spans whose texts contain no secrets."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from time import time_ns
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from tracing.ids import (
    PROPAGATOR,
    StableIds,
    execution_context,
    link_kind,
    link_to,
    span_id_of,
    trace_id_of,
)
from tracing.spans import TracedExecution
from version import VERSION

log = structlog.get_logger()

MAX_TEXT_CHARS = 2_000
"""Maximum length of a text in a span, in characters."""

_NANOSECONDS = 1_000_000_000

Attributes = Mapping[str, AttributeValue | None]
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


def never_raises(
    fallback: T,
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Return a decorator that logs an exception of a method and returns ``fallback`` instead."""

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(method)
        def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a trace must not fail a node
                log.warning("tracing_failed", reason=f"{type(error).__name__}: {error}")
                return fallback

        return run

    return decorate


class SpanFactory:
    """Creates the spans of all executions of a process, in any thread."""

    def __init__(
        self, provider: TracerProvider, ids: StableIds, mask: Callable[[str], str]
    ) -> None:
        self._tracer = provider.get_tracer("workflow-orchestration-service", VERSION)
        self._next = ids.next
        self._mask = mask

    def execution_span(self, execution: TracedExecution) -> Span:
        """Return the span of an execution, which is exported when ``end`` is called."""
        context = execution.context
        continues = context is not None and not context.is_link
        links: list[Link] = []
        if context is not None and context.is_link:
            links += link_to(context, "caller")
        if earlier := execution.earlier:
            links.append(
                Link(
                    execution_context(earlier.execution_id, earlier.context),
                    link_kind(earlier.kind),
                )
            )
        started = execution.started_at
        self._next.trace_id = trace_id_of(execution.execution_id)
        self._next.span_id = span_id_of(execution.execution_id)
        try:
            return self._tracer.start_span(
                self.text(execution.workflow_name) or "execution",
                PROPAGATOR.extract(context.headers) if context and continues else Context(),
                SpanKind.CONSUMER if continues else SpanKind.INTERNAL,
                self.attributes(
                    {
                        "workflow.execution.id": execution.execution_id,
                        "workflow.id": execution.workflow_id,
                        "workflow.name": execution.workflow_name,
                        "workflow.organization.id": execution.organization_id,
                        "workflow.trigger": execution.trigger_type,
                    }
                ),
                links,
                None if started is None else int(started.timestamp() * _NANOSECONDS),
            )
        finally:
            self._next.trace_id = self._next.span_id = None

    def span(
        self,
        name: str,
        parent: Span,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        links: Sequence[Link] = (),
        span_id: int | None = None,
        start_time: int | None = None,
    ) -> Span:
        """Start a span below another one."""
        self._next.span_id = span_id
        try:
            return self._tracer.start_span(
                self.text(name),
                set_span_in_context(parent, Context()),
                kind,
                self.attributes(attributes),
                links,
                start_time,
            )
        finally:
            self._next.span_id = None

    @never_raises(None)
    def mark_start(self, span: Span, name: str, attributes: Attributes) -> None:
        """Export a span without duration below a span that has started."""
        now = time_ns()
        self.span(f"{name} started", span, attributes, start_time=now).end(now)

    def attributes(self, values: Attributes) -> dict[str, AttributeValue]:
        """Return the values that are known, with masked texts."""
        return {
            name: self.text(value) if isinstance(value, str) else value
            for name, value in values.items()
            if value is not None
        }

    def fail(self, span: Span, error: str) -> None:
        """Set the status of a span to an error."""
        span.set_status(StatusCode.ERROR, self.text(error))

    def text(self, value: str) -> str:
        """Return a text without secrets, up to the maximum length."""
        return self._mask(value)[:MAX_TEXT_CHARS]
