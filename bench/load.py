"""Load: submissions at a fixed rate, polling while they run, and a full queue."""

import random
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.client import BenchError, Client
from bench.fixed_rate import send_at_rate
from bench.service import WORKFLOW, Service

POLLERS = 4
POLL_PAUSE_SECONDS = 0.02
COMPLETION_TIMEOUT_SECONDS = 120.0
SUBMISSIONS_PER_SECOND = 50
SUBMITTERS = 10


@dataclass(frozen=True, slots=True)
class Burst:
    """Submissions while executions run, and polling until all of them have completed."""

    per_second: float
    """Submissions per second of clients that submit without pauses."""
    submitting: list[float]
    """Seconds from the planned time of each submission, at a fixed rate, to its response."""
    polling: list[float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Execution of a full queue. ``cpu_seconds`` is the processor time for ``executions``."""

    executions: int
    seconds: float
    cpu_seconds: float | None


def warm_up(service: Service, executions: int) -> None:
    """Run some executions, so that one-time work is not measured."""
    _submit(service, executions, clients=1)
    _wait_for_all(service)


def burst(service: Service, submissions: int, clients: int) -> Burst:
    """Fill the queue from concurrent clients without pauses, and submit at a fixed rate then.

    Without pauses, the latency only shows how many clients wait: it is their number divided by
    the submissions per second.
    """
    before = len(service.completed_at())
    polled = _Polled()
    with _polling(service, polled):
        begun = time.perf_counter()
        _submit(service, submissions, clients, polled.waiting)
        seconds = time.perf_counter() - begun
        submitting = send_at_rate(
            service.port,
            submissions,
            per_second=SUBMISSIONS_PER_SECOND,
            clients=SUBMITTERS,
            send=lambda client, _: client.submit(WORKFLOW),
        )
        _wait_for_all(service)
    _none_lost(service, before + 2 * submissions)
    return Burst(submissions / seconds, submitting, polled.seconds)


def throughput(service: Service, executions: int, clients: int) -> Throughput:
    """Measure the execution of a full queue without submissions and polls.

    The time in which the queue is filled, and its completed executions, do not count.
    """
    before = len(service.completed_at())
    _submit(service, executions, clients)
    filled, cpu_before = datetime.now(UTC), service.cpu_seconds()
    _wait_for_all(service)
    cpu_after = service.cpu_seconds()
    ended = _none_lost(service, before + executions)
    since = [end for text in ended if (end := datetime.fromisoformat(text)) > filled]
    if not since:
        raise BenchError("all executions completed too early; increase --executions")
    return Throughput(
        len(since),
        (since[-1] - filled).total_seconds(),
        None if cpu_before is None or cpu_after is None else cpu_after - cpu_before,
    )


def _submit(
    service: Service, count: int, clients: int, accepted: "list[str] | None" = None
) -> list[float]:
    """Submit ``count`` executions and return the response times, in seconds."""

    def post(share: int) -> list[float]:
        seconds: list[float] = []
        with closing(Client(service.port)) as client:
            for _ in range(share):
                response = client.submit(WORKFLOW)
                seconds.append(response.seconds)
                if accepted is not None:
                    accepted.append(response.body["executionId"])
        return seconds

    shares = [count // clients + (i < count % clients) for i in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        return [seconds for part in pool.map(post, shares) for seconds in part]


@dataclass(slots=True)
class _Polled:
    """Data that the pollers share; changing and copying a list are atomic."""

    waiting: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])
    failures: list[Exception] = field(default_factory=list[Exception])
    done: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _polling(service: Service, polled: _Polled) -> Generator[None]:
    """Poll random executions from several clients during the block."""
    pollers = [threading.Thread(target=_poll, args=(service.port, polled)) for _ in range(POLLERS)]
    for poller in pollers:
        poller.start()
    try:
        yield
    finally:
        polled.done.set()
        for poller in pollers:
            poller.join()
    if polled.failures:
        raise BenchError(f"polling failed: {polled.failures[0]!r}")


def _poll(port: int, polled: _Polled) -> None:
    try:
        with closing(Client(port)) as client:
            while not polled.done.wait(POLL_PAUSE_SECONDS):
                unfinished = polled.waiting.copy()
                if not unfinished:
                    continue
                execution_id = random.choice(unfinished)
                response = client.poll(execution_id)
                polled.seconds.append(response.seconds)
                if response.body["completedAt"]:
                    with suppress(ValueError):  # another poller was faster
                        polled.waiting.remove(execution_id)
    except Exception as error:  # noqa: BLE001 - raised again where the block ends
        polled.failures.append(error)


def _wait_for_all(service: Service) -> None:
    deadline = time.monotonic() + COMPLETION_TIMEOUT_SECONDS
    while left := service.unfinished():
        if time.monotonic() > deadline:
            raise BenchError(
                f"{left} executions have not ended after {COMPLETION_TIMEOUT_SECONDS:.0f} s"
            )
        time.sleep(0.05)


def _none_lost(service: Service, expected: int) -> list[str]:
    ended = service.completed_at()
    if len(ended) != expected:
        raise BenchError(f"{len(ended)} of {expected} executions completed")
    return ended
