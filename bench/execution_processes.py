"""Execution processes: a full queue, polls and submissions with 0, 1 and 2 of them.

    python -m bench.execution_processes [--counts 0,1,2] [--rounds 2] [--executions 150]

Measures each number of processes in alternating rounds, about half a minute each on a quiet
machine. It prints the load of the machine before each round. Only the ratios of one run mean
something.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

from bench.client import Client
from bench.load import throughput
from bench.processes import cpu_seconds, resident_mb
from bench.service import WORKFLOW, Service, running_service

CONCURRENCY = 16
CLIENTS = 8
REQUESTS = 60
PAUSE_SECONDS = 0.02
IDLE_INTERVAL_SECONDS = 1.0
IDLE_SHARE = 0.1
"""Share of a core below which a service has started."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one start of the service; latencies are in milliseconds."""

    per_second: float
    """Executions per second while a full queue is executed, without requests."""
    cpu_ms: float
    """Processor time of all processes for each of these executions."""
    idle_poll_p50: float
    poll_p50: float
    """Latency of the poll of a running execution, while the queue is full."""
    poll_p99: float
    idle_submission_p50: float
    submission_p50: float
    submission_p99: float
    started_in: float
    """Seconds until the first response."""
    first_ended_in: float
    """Seconds until the end of the first execution."""
    idle_mb: float
    """Resident memory of all processes of the service."""
    unfinished: int
    """Executions in the queue after the measurement of the latencies."""


def measure(count: int, executions: int) -> Figures:
    """Measure a service with a number of processes."""
    begun = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        running_service(
            Path(directory), CONCURRENCY, {"EXECUTOR_PROCESSES": str(count)}
        ) as service,
        closing(Client(service.port)) as client,
    ):
        ended = client.submit(WORKFLOW, headers={"Prefer": "wait=60"}).body["executionId"]
        first_ended_in = time.perf_counter() - begun
        _wait_until_idle(service)
        memory = resident_mb(service.pid) or 0.0
        for _ in range(5 * CONCURRENCY):  # so that each process has executed some
            client.submit(WORKFLOW)
        _wait_for_all(service)
        client.close()  # it connects again, because the service closes unused connections
        idle_polls = [client.poll(ended).seconds for _ in range(REQUESTS)]
        idle_submissions = [client.submit(WORKFLOW).seconds for _ in range(5)]
        _wait_for_all(service)
        drained = throughput(service, executions, CLIENTS)
        client.close()
        for _ in range(executions):
            client.submit(WORKFLOW)
        polls: list[float] = []
        submissions: list[float] = []
        for _ in range(REQUESTS):
            submitted = client.submit(WORKFLOW)
            submissions.append(submitted.seconds)
            polls.append(client.poll(ended).seconds)
            time.sleep(PAUSE_SECONDS)
        return Figures(
            drained.executions / drained.seconds,
            (drained.cpu_seconds or 0.0) * 1_000 / drained.executions,
            _p50(idle_polls),
            _p50(polls),
            _p99(polls),
            _p50(idle_submissions),
            _p50(submissions),
            _p99(submissions),
            service.started_in,
            first_ended_in,
            memory,
            service.unfinished(),
        )


def _wait_for_all(service: Service) -> None:
    while service.unfinished():
        time.sleep(PAUSE_SECONDS)


def _wait_until_idle(service: Service) -> None:
    """Wait until no process of the service imports modules any more."""
    used = cpu_seconds(service.pid) or 0.0
    while True:
        time.sleep(IDLE_INTERVAL_SECONDS)
        before, used = used, cpu_seconds(service.pid) or 0.0
        if used - before < IDLE_SHARE * IDLE_INTERVAL_SECONDS:
            return


def _p50(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1_000


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1_000


def main() -> None:
    """Print one line for each measurement, and the ratios to the first number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="0,1,2", help="numbers of processes")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--executions", type=int, default=300)
    options = parser.parse_args()
    counts = [int(text) for text in options.counts.split(",")]
    found: dict[int, list[Figures]] = {count: [] for count in counts}
    names = [field.name for field in fields(Figures)]
    print(" | ".join(("processes", *names, "load")))
    for _ in range(options.rounds):
        for count in counts:
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
            figures = measure(count, options.executions)
            found[count].append(figures)
            values = [f"{getattr(figures, name):.2f}" for name in names]
            print(" | ".join((str(count), *values, f"{load:.1f}")), flush=True)
    print(f"ratios of the medians to {counts[0]} processes")
    for count in counts[1:]:
        ratios = [_median(found[count], name) / _median(found[counts[0]], name) for name in names]
        print(" | ".join((str(count), *(f"{ratio:.2f}" for ratio in ratios))))


def _median(figures: Sequence[Figures], name: str) -> float:
    return statistics.median(getattr(one, name) for one in figures) or float("nan")


if __name__ == "__main__":
    main()
