"""Metrics: measurements of this process in Prometheus' format, in a registry of their own.

Labels have a fixed set of values. A node type that the service does not know is counted as
``other``, and no label contains an organization, a workflow or an id, so that clients cannot
increase the number of time series.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from metric_families import Family, FamilyCollector, export_families, sum_families

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
"""Label of a value outside of the fixed set."""
PREFIX = "workflow_"
"""Prefix of the names of all metrics of the service."""
LAG_INTERVAL_SECONDS = 1.0
"""Interval between two measurements of the latency of an event loop, in seconds."""

_NODE_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
_DATABASE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

NodeRunResult = Literal["completed", "failed", "parked", "cancelled"]
CallbackResult = Literal["delivered", "failed", "abandoned"]
Gauges = Callable[[], Iterable[tuple[str, str, dict[str, float] | float]]]
"""Returns values that are read at each scrape: name, description, and a value or values by status.
"""


class _ScrapedGauges(Collector):
    """Gauges whose values are read at each scrape, so that none is out of date."""

    def __init__(self, read: Gauges) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        for name, description, value in self._read():
            if isinstance(value, dict):
                family = GaugeMetricFamily(PREFIX + name, description, labels=["status"])
                for status, number in value.items():
                    family.add_metric([status], number)
            else:
                family = GaugeMetricFamily(PREFIX + name, description, value=value)
            yield family


class Metrics:
    """The measurements of one service or worker. Its methods may be called from any thread."""

    def __init__(self, node_types: Iterable[str] = ()) -> None:
        """Create the metrics. ``node_types`` are the values of the label ``type``."""
        self.registry = registry = CollectorRegistry()
        self._node_types = frozenset(node_types)
        ProcessCollector(registry=registry)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, description, labels, registry=registry)

        self._ended = counter(
            "executions_ended", "Executions that this process ended, by status.", "status"
        )
        self._node_seconds = Histogram(
            f"{PREFIX}node_duration_seconds",
            "Duration of node runs with all attempts and the pauses between them.",
            ("type", "result"),
            buckets=_NODE_SECONDS,
            registry=registry,
        )
        self._retries = counter(
            "node_retries", "Failed attempts of node runs that another attempt follows.", "type"
        )
        self._recoveries = counter(
            "execution_recoveries", "Claims of executions whose previous owner crashed."
        )
        self._lost_leases = counter(
            "lost_leases", "Executions that another process took over from this one."
        )
        self._callbacks = counter("callbacks", "Callback attempts, by result.", "result")
        self._database_seconds = Histogram(
            f"{PREFIX}database_duration_seconds",
            "Duration of database transactions, including the wait for a connection or a lock.",
            ("operation",),
            buckets=_DATABASE_SECONDS,
            registry=registry,
        )
        self._lag_seconds = Histogram(
            f"{PREFIX}event_loop_lag_seconds",
            "Delay of a timer in an event loop, measured each second.",
            ("loop",),
            buckets=_LAG_SECONDS,
            registry=registry,
        )
        self._stream_clients = Gauge(
            f"{PREFIX}stream_clients",
            "Open subscriptions to events, and requests that wait for a change.",
            ("kind",),
            registry=registry,
        )

    def execution_ended(self, status: str) -> None:
        """Count an execution that this process ended."""
        self._ended.labels(status).inc()

    def execution_recovered(self) -> None:
        """Count a claim of an execution whose previous owner crashed."""
        self._recoveries.inc()

    def lease_lost(self) -> None:
        """Count an execution that another process took over."""
        self._lost_leases.inc()

    def node_ended(self, node_type: str, result: NodeRunResult, seconds: float) -> None:
        """Count a node run with its duration."""
        self._node_seconds.labels(self._type(node_type), result).observe(seconds)

    def node_retried(self, node_type: str) -> None:
        """Count a failed attempt that another one follows."""
        self._retries.labels(self._type(node_type)).inc()

    def callback_attempted(self, result: CallbackResult) -> None:
        """Count an attempt to send a callback."""
        self._callbacks.labels(result).inc()

    def database_used(self, operation: Literal["read", "write"], seconds: float) -> None:
        """Count a transaction with its duration."""
        self._database_seconds.labels(operation).observe(seconds)

    async def measure_loop_lag_forever(self, loop_name: Literal["http", "flows"]) -> None:
        """Measure how late the running event loop executes a timer, once per interval."""
        observe = self._lag_seconds.labels(loop_name).observe
        while True:
            started = perf_counter()
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            observe(max(0.0, perf_counter() - started - LAG_INTERVAL_SECONDS))

    def watch_stream_clients(self, kind: str, count: Callable[[], float]) -> None:
        """Read a number of stream clients at each scrape."""
        self._stream_clients.labels(kind).set_function(count)

    def watch(self, gauges: Gauges) -> None:
        """Read these gauges at each scrape."""
        self.registry.register(_ScrapedGauges(gauges))

    def serve(self, port: int) -> None:
        """Serve the metrics at ``/metrics`` on a port of the loopback interface, in a thread.

        Raises:
            OSError: If the port is in use.
        """
        start_http_server(port, "127.0.0.1", self.registry)

    def render(self, others: Sequence[Family] = ()) -> bytes:
        """Return all metrics in Prometheus' text format; add those of other processes."""
        if not others:
            return generate_latest(self.registry)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(FamilyCollector(sum_families([export_families(self.registry), others])))
        return generate_latest(registry)

    def _type(self, node_type: str) -> str:
        return node_type if node_type in self._node_types else OTHER


UNOBSERVED = Metrics()
"""Metrics that no endpoint returns, for callers that measure nothing."""
