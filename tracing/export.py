"""Trace export: sends spans to a collector in a background thread, over OTLP/HTTP.

The queue is bounded: if the collector is unavailable or slow, spans are dropped. A collector that
does not accept spans is logged once, and once more when it accepts them again.
"""

import logging
import os
from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tracing.ids import StableIds
from tracing.recorder import Recorder
from version import VERSION

log = structlog.get_logger()

DEFAULT_SERVICE_NAME = "workflow-service"
DEFAULT_EXPORT_INTERVAL_MS = 500
"""Interval between two exports, in milliseconds. OpenTelemetry's default of 5 s would hide the
start of an execution for that time, and lose it if the process crashes."""
_QUEUE_LOGGER = "opentelemetry.sdk._shared_internal"
_INTERVAL = "OTEL_BSP_SCHEDULE_DELAY"


class OtelMessages(logging.Handler):
    """Receives the messages of OpenTelemetry's own loggers, which repeat them for each batch.

    It keeps the first one of an export as its reason, and logs once that spans are dropped.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reason = ""
        self._is_full = False

    def install(self) -> None:
        """Replace the handlers of OpenTelemetry's loggers by this one."""
        logger = logging.getLogger("opentelemetry")
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or log a message."""
        if record.name != _QUEUE_LOGGER:
            self.reason = self.reason or record.getMessage()
        elif not self._is_full:
            self._is_full = True
            log.warning("spans_dropped", reason=record.getMessage())


class MonitoredExporter(SpanExporter):
    """Logs when an exporter starts to fail and when it succeeds again, not each failure."""

    def __init__(self, exporter: SpanExporter, messages: OtelMessages) -> None:
        self._exporter = exporter
        self._messages = messages
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans. The exporter has a timeout, and repeats a request a few times."""
        self._messages.reason = ""
        try:
            result = self._exporter.export(spans)
            reason = self._messages.reason
        except Exception as error:  # noqa: BLE001 - for example, an invalid URL
            result, reason = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning("trace_export_failed", reason=reason)
        elif self._fails and not fails:
            log.info("trace_export_resumed")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()


def new_tracer(mask: Callable[[str], str]) -> Recorder:
    """Return a tracer that exports to the collector of OpenTelemetry's environment variables.

    Its provider is not the global one, so that it exports the spans of the service only.

    Raises:
        ValueError: If a variable has an invalid value.
    """
    messages = OtelMessages()
    messages.install()
    ids = StableIds()
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False, id_generator=ids)
    interval = None if os.environ.get(_INTERVAL) else DEFAULT_EXPORT_INTERVAL_MS
    exporter = MonitoredExporter(OTLPSpanExporter(), messages)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=interval))
    if messages.reason:  # an invalid variable that OpenTelemetry replaces by its default
        log.warning("tracing_variable_invalid", reason=messages.reason)
    return Recorder(provider, ids, mask)


def _resource() -> Resource:
    attributes = {"service.version": VERSION, "service.instance.id": str(uuid4())}
    named = OTELResourceDetector().detect().attributes
    if SERVICE_NAME not in named:
        attributes[SERVICE_NAME] = DEFAULT_SERVICE_NAME
    return Resource.create(attributes)
