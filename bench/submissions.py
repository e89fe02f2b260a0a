"""Submissions: their latency while executions saturate the service, with one client.

    python -m bench.submissions [CHECKOUT ...]

Measures each checkout of this repository twice, alternating, in less than a minute per checkout on
a quiet machine. Only the ratios of one run mean something.
"""

import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.client import Client
from bench.service import ROOT, WORKFLOW, running_service

ROUNDS = 2
BACKLOG = 100
"""Number of executions that are queued before the measurement, so that all slots are in use."""
SUBMISSIONS = 50
PAUSE_SECONDS = 0.02
CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of submissions in milliseconds, idle and saturated, and the executions per second.

    ``cpu_ms`` is the processor time of the service for each execution; ``None`` except on Linux.
    ``unfinished`` is the number of executions at the end of the measurement; the service was
    saturated all the time if it is large.
    """

    idle_p50: float
    p50: float
    p99: float
    per_second: float
    cpu_ms: float | None
    unfinished: int


def measure(root: Path) -> Latency:
    """Measure one start of the service of a checkout."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        running_service(Path(directory), CONCURRENCY, root=root) as service,
        closing(Client(service.port)) as client,
    ):
        idle = [_timed(client, prefer="wait=60") for _ in range(5)]
        idle = [_timed(client) for _ in idle]
        while service.unfinished():
            time.sleep(PAUSE_SECONDS)
        for _ in range(BACKLOG):
            client.submit(WORKFLOW)
        before, begun = len(service.completed_at()), time.perf_counter()
        cpu_before = service.cpu_seconds()
        saturated: list[float] = []
        for _ in range(SUBMISSIONS):
            saturated.append(_timed(client))
            time.sleep(PAUSE_SECONDS)
        completed = len(service.completed_at()) - before
        seconds = time.perf_counter() - begun
        cpu = (service.cpu_seconds() or 0.0) - (cpu_before or 0.0)
        return Latency(
            statistics.median(idle),
            statistics.median(saturated),
            statistics.quantiles(saturated, n=100)[98],
            completed / seconds,
            cpu * 1_000 / completed if cpu_before and completed else None,
            service.unfinished(),
        )


def _timed(client: Client, prefer: str | None = None) -> float:
    headers = {} if prefer is None else {"Prefer": prefer}
    return client.submit(WORKFLOW, headers=headers).seconds * 1_000


def main(checkouts: list[Path]) -> None:
    """Print one line for each measurement."""
    columns = "idle p50, ms | saturated p50, ms | p99, ms | executions/s | CPU, ms | unfinished"
    print(f"checkout | {columns}")
    for _ in range(ROUNDS):
        for root in checkouts:
            found = measure(root)
            print(
                f"{root} | {found.idle_p50:.1f} | {found.p50:.1f} | {found.p99:.1f} |"
                f" {found.per_second:.1f} | {found.cpu_ms or 0:.0f} | {found.unfinished}",
                flush=True,
            )


if __name__ == "__main__":
    main([Path(text).resolve() for text in sys.argv[1:]] or [ROOT])
