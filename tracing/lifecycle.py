"""Tracing lifecycle: starts and stops the export of traces in a process."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping

import structlog

from tracing.spans import Tracer

log = structlog.get_logger()

STOP_TIMEOUT_SECONDS = 2.0
"""Timeout for the export of the last spans when the process stops."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_disabled = Tracer()
_current = _disabled
_users = 0
_lock = threading.Lock()


def tracer() -> Tracer:
    """Return the tracer of this process."""
    return _current


def start_tracing(variables: Mapping[str, str], mask: Callable[[str], str]) -> None:
    """Start the export if OpenTelemetry's ``variables`` name a collector.

    ``mask`` removes secrets from every text in a span. Each call needs one of ``stop_tracing``.
    A wrong variable is logged and does not stop the service.
    """
    global _current, _users  # noqa: PLW0603 - one exporter in a process, as for logging
    with _lock:
        _users += 1
        if _users > 1:
            return
        try:
            if not _is_enabled(variables):
                return
            # The SDK reads the environment only, and some variables may come from a file.
            for name, value in variables.items():
                os.environ.setdefault(name, value)
            # The import takes memory and time, which a service without a collector saves.
            from tracing.export import new_tracer  # noqa: PLC0415

            _current = new_tracer(mask)
        except Exception as error:  # noqa: BLE001 - traces are less important than executions
            log.warning("tracing_disabled", reason=f"{type(error).__name__}: {error}")
            return
        log.info("tracing_started")


async def stop_tracing() -> None:
    """Export the last spans within a time limit, and stop the export."""
    global _current, _users  # noqa: PLW0603 - as above
    with _lock:
        _users -= 1
        if _users > 0 or _current is _disabled:
            return
        stopped, _current = _current, _disabled
    # A daemon thread, because the interpreter would wait for a thread of a pool.
    thread = threading.Thread(target=stopped.shutdown, name="tracing-shutdown", daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, STOP_TIMEOUT_SECONDS)


def _is_enabled(variables: Mapping[str, str]) -> bool:
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = {name.strip().lower() for name in _value(variables, "OTEL_TRACES_EXPORTER")}
    if exporters == {"none"} or not (exporters or _value(variables, *_ENDPOINTS)):
        return False
    if exporters - {"otlp"}:
        names = ", ".join(sorted(exporters))
        reason = f"OTEL_TRACES_EXPORTER={names}: the accepted values are otlp and none"
        log.warning("tracing_disabled", reason=reason)
        return False
    protocol = "".join(_value(variables, *_PROTOCOLS)).lower() or _PROTOCOL
    if protocol != _PROTOCOL:
        reason = f"{_PROTOCOLS[1]}={protocol}: the accepted value is {_PROTOCOL}"
        log.warning("tracing_disabled", reason=reason)
        return False
    return True


def _value(variables: Mapping[str, str], *names: str) -> list[str]:
    """Return the elements of the first of these variables that is not blank."""
    for name in names:
        if value := variables.get(name, "").strip():
            return [part for part in value.split(",") if part.strip()]
    return []
