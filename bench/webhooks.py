"""Webhook latency: measures the time until the response (``python -m bench.webhooks``)."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from bench.client import BenchError
from bench.fixed_rate import send_at_rate
from bench.service import Service, running_service, save_workflow

RATE = 50
CONCURRENCY = 10
SENDERS = 16
"""Sufficient for punctual deliveries if a response takes less than 300 ms."""
WORKFLOW = "bench-webhook"
LIMIT_MS = 20.0


def main() -> int:
    """Print the figures; fail if the median exceeds ``LIMIT_MS``."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help=f"at {RATE} a second (20)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as directory:
        try:
            with running_service(Path(directory), CONCURRENCY) as service:
                save_workflow(service.database, WORKFLOW, _document())
                _deliver(service, RATE)  # the first second is a warm-up
                response_times, took = _deliver(service, RATE * seconds)
        except BenchError as error:
            print(f"The benchmark failed: {error}", file=sys.stderr)
            return 1
    half, late = median(response_times) * 1000, quantiles(response_times, n=100)[98] * 1000
    print(
        f"{len(response_times)} deliveries with their executions, "
        f"{len(response_times) / took:.0f} per second"
    )
    print(f"response: median {half:.1f} ms (at most {LIMIT_MS:.0f}), p99 {late:.1f} ms")
    return 0 if half < LIMIT_MS else 1


def _deliver(service: Service, count: int) -> tuple[list[float], float]:
    """Send ``count`` deliveries at their planned times; return each response time and the total."""
    begun = time.perf_counter()
    response_times = send_at_rate(
        service.port,
        count,
        per_second=RATE,
        clients=SENDERS,
        send=lambda client, number: client.deliver(WORKFLOW, {"number": number}),
    )
    return response_times, time.perf_counter() - begun


def _document() -> dict[str, object]:
    """Return a workflow of a webhook, an ``addField`` node and an output."""
    config = {"addFieldName": "seen", "addFieldValue": "{{ number }}"}
    nodes: list[tuple[str, str, dict[str, str]]] = [
        ("hook", "webhook", {}),
        ("add", "addField", config),
        ("end", "output", {}),
    ]
    arrows = [("hook", "add"), ("add", "end")]
    return {
        "nodes": [{"id": i, "type": kind, "label": i, "config": own} for i, kind, own in nodes],
        "connections": [{"id": f"{a}-{b}", "fromNodeId": a, "toNodeId": b} for a, b in arrows],
    }


if __name__ == "__main__":
    sys.exit(main())
