"""Trace receiver: a collector on loopback that decodes OTLP/HTTP requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.servers import Request, Response, serving
from tests.support.service import wait_until


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span; ids are in hexadecimal digits, times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start: int
    end: int
    failed: bool
    message: str
    """The reason of a failure."""
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: dict[str, tuple[str, str]]
    """The trace id and the span id of each link, by its kind."""

    @property
    def traceparent(self) -> str:
        """The header of a request that has this span, without the flags."""
        return f"00-{self.trace_id}-{self.span_id}"


@dataclass(slots=True)
class TraceReceiver:
    """The received spans in their order, and the body of every request."""

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list[ReceivedSpan])
    bodies: list[bytes] = field(default_factory=list[bytes])
    resource: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def variables(self) -> dict[str, str]:
        """OpenTelemetry's variables for this collector."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def all(self, name: str, **attributes: object) -> list[ReceivedSpan]:
        """Return the spans with this name and these attributes; dashes stand for dots."""
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        return [
            span
            for span in list(self.spans)
            if span.name == name and wanted.items() <= span.attributes.items()
        ]

    def one(self, name: str, **attributes: object) -> ReceivedSpan:
        """Wait for the only span with this name and these attributes."""
        (span,) = wait_until(lambda: self.all(name, **attributes))
        return span

    async def receive(self, request: Request) -> Response:
        """Decode a request of an exporter."""
        assert request.path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(request.body)
        self.bodies.append(request.body)
        for resource in message.resource_spans:
            self.resource = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += map(_received, scope.spans)
        return Response(200, headers={"Content-Type": "application/x-protobuf"})


@contextmanager
def receiving() -> Iterator[TraceReceiver]:
    """Run a collector."""
    receiver = TraceReceiver()
    with serving(receiver.receive) as receiver.url:
        yield receiver


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def _received(span: Span) -> ReceivedSpan:
    links = {
        str(_values(link.attributes)["workflow.link.kind"]): (
            link.trace_id.hex(),
            link.span_id.hex(),
        )
        for link in span.links
    }
    return ReceivedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == span.status.STATUS_CODE_ERROR,
        span.status.message,
        _values(span.attributes),
        [(event.name, _values(event.attributes)) for event in span.events],
        links,
    )
