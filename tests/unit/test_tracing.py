"""Tracing without a collector: it costs executions nothing, and wrong variables are reported."""

import asyncio
import logging
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from structlog.testing import capture_logs

import tracing
from tracing import NO_TRACE, RunEnd, TraceContext, TracedExecution, TracedNode, lifecycle
from tracing.export import MonitoredExporter, OtelMessages
from tracing.ids import StableIds, trace_id_of
from tracing.recorder import Recorder

QUEUE = 64
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class FakeExporter(SpanExporter):
    """Fails or blocks as the test sets it."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = SpanExportResult.SUCCESS
        self.error: Exception | None = None
        self.released = threading.Event()
        self.released.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait()
        self.spans += spans
        if self.error is not None:
            raise self.error
        return self.result


def recorder(exporter: SpanExporter, mask: object = str) -> Recorder:
    ids = StableIds()
    provider = TracerProvider(shutdown_on_exit=False, id_generator=ids)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE, max_export_batch_size=QUEUE)
    )
    return Recorder(provider, ids, mask)  # type: ignore[arg-type]


async def record(tracer: Recorder, execution_id: str, nodes: int = 1) -> None:
    trace = tracer.execution(TracedExecution(execution_id, workflow_name="W"))
    trace.run_started("f")
    for number in range(nodes):
        trace.node(TracedNode(f"n{number}", "http", None, 1)).end_run("completed")
    trace.end(RunEnd("completed"))


async def test_a_collector_that_does_not_answer_blocks_nothing_and_the_queue_is_bounded() -> None:
    exporter = FakeExporter()
    exporter.released.clear()
    tracer = recorder(exporter)
    # Each call returns, although no span can be sent: this test would not end otherwise.
    for number in range(20):
        await record(tracer, f"e{number}", nodes=QUEUE)
    assert exporter.spans == []
    exporter.released.set()
    await asyncio.to_thread(tracer.shutdown)
    assert 0 < len(exporter.spans) <= 2 * QUEUE  # one batch was being sent, the rest was queued


async def test_a_stop_does_not_wait_for_a_collector_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exporter = FakeExporter()
    exporter.released.clear()
    tracer = recorder(exporter)
    await record(tracer, "e")
    monkeypatch.setattr(lifecycle, "_current", tracer)
    monkeypatch.setattr(lifecycle, "_users", 1)
    monkeypatch.setattr(lifecycle, "STOP_TIMEOUT_SECONDS", 0.01)
    await tracing.stop_tracing()
    assert exporter.spans == []
    assert type(tracing.tracer()) is tracing.Tracer
    exporter.released.set()


@pytest.mark.parametrize("error", [None, RuntimeError("no connection")])
def test_a_collector_that_fails_is_logged_once(error: Exception | None) -> None:
    inner = FakeExporter()
    inner.result, inner.error = SpanExportResult.FAILURE, error
    exporter = MonitoredExporter(inner, OtelMessages())
    with capture_logs() as logs:
        for _ in range(5):
            assert exporter.export([]) is SpanExportResult.FAILURE
        inner.result, inner.error = SpanExportResult.SUCCESS, None
        for _ in range(5):
            exporter.export([])
    assert [entry["event"] for entry in logs] == ["trace_export_failed", "trace_export_resumed"]


def test_opentelemetrys_own_messages_are_not_repeated() -> None:
    messages = OtelMessages()
    with capture_logs() as logs:
        for number in range(3):
            for module in ("exporter.otlp.proto.http", "sdk._shared_internal"):
                name = f"opentelemetry.{module}"
                messages.handle(logging.LogRecord(name, 30, "", 0, f"m{number}", (), None))
    assert messages.reason == "m0"
    assert [entry["event"] for entry in logs] == ["spans_dropped"]


async def test_a_tracer_that_fails_fails_no_execution() -> None:
    def broken(_text: str) -> str:
        raise RuntimeError("broken")

    tracer = recorder(FakeExporter(), broken)
    with capture_logs() as logs:
        trace = tracer.execution(TracedExecution("e", workflow_name="W"))
    assert trace is NO_TRACE
    assert [entry["event"] for entry in logs] == ["tracing_failed"]
    span = trace.node(TracedNode("n", "http", None, 1))
    assert span.headers == {}
    span.end_run("completed")


def test_the_trace_ids_of_executions_are_evenly_distributed() -> None:
    """A sampler keeps the traces whose last 64 bits are below its bound."""
    kept = sum(trace_id_of(f"e{number}") % 2**64 < 2**63 for number in range(1_000))
    assert 400 < kept < 600


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "orders"}, None),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "true"}, None),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        ({**COLLECTOR, "OTEL_BSP_SCHEDULE_DELAY": "-1"}, "schedule_delay_millis"),
    ],
)
async def test_nothing_starts_without_usable_variables(
    variables: dict[str, str], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with capture_logs() as logs:
        tracing.start_tracing(variables, str)
        started = tracing.tracer()
        await tracing.stop_tracing()
    assert type(started) is tracing.Tracer
    assert [reason in entry["reason"] for entry in logs] == ([] if reason is None else [True])


@pytest.mark.parametrize("text", [None, "", "no json", "[]", '{"unknown": 1}', "1"])
def test_a_changed_trace_context_counts_as_none(text: str | None) -> None:
    assert TraceContext.decode(text) is None
