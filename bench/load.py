"""The load: many submissions at once, polling while they run, and a queue to work off."""

import random
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.client import BenchError, Client
from bench.service import WORKFLOW, Service

POLLERS = 4
POLL_PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Many submissions at once, and polling until all of them have completed."""

    seconds: float
    submitting: list[float]
    polling: list[float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """A queue being worked off. ``cpu_seconds`` is what the service computed for ``executions``."""

    executions: int
    seconds: float
    cpu_seconds: float | None


def warm_up(service: Service, executions: int) -> None:
    """Runs some executions, so that nothing is measured that happens but once."""
    _submit(service, executions, clients=1)
    _wait_for_all(service)


def burst(service: Service, submissions: int, clients: int) -> Burst:
    """Submits from ``clients`` at once and polls until everything has completed."""
    before = len(service.completed_at())
    polled = _Polled()
    with _polling(service, polled):
        begun = time.perf_counter()
        submitting = _submit(service, submissions, clients, polled.waiting)
        seconds = time.perf_counter() - begun
        _wait_for_all(service)
    _none_lost(service, before + submissions)
    return Burst(seconds, submitting, polled.seconds)


def throughput(service: Service, executions: int, clients: int) -> Throughput:
    """How fast a queue is worked off that nobody adds to and nobody polls.

    What completes while the queue is being filled does not count, nor does that time.
    """
    before = len(service.completed_at())
    _submit(service, executions, clients)
    filled, cpu_before = datetime.now(UTC), service.cpu_seconds()
    _wait_for_all(service)
    cpu_after = service.cpu_seconds()
    ended = _none_lost(service, before + executions)
    since = [moment for text in ended if (moment := datetime.fromisoformat(text)) > filled]
    if not since:
        raise BenchError("everything had completed before the queue was full; ask for more")
    return Throughput(
        len(since),
        (since[-1] - filled).total_seconds(),
        None if cpu_before is None or cpu_after is None else cpu_after - cpu_before,
    )


def _submit(
    service: Service, count: int, clients: int, accepted: "list[str] | None" = None
) -> list[float]:
    """Posts ``count`` executions; the seconds that each answer took."""

    def post(share: int) -> list[float]:
        seconds: list[float] = []
        with closing(Client(service.port)) as client:
            for _ in range(share):
                answer = client.submit(WORKFLOW)
                seconds.append(answer.seconds)
                if accepted is not None:
                    accepted.append(answer.body["executionId"])
        return seconds

    shares = [count // clients + (i < count % clients) for i in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        return [seconds for part in pool.map(post, shares) for seconds in part]


@dataclass(slots=True)
class _Polled:
    """What the pollers share; changing and copying a list are atomic."""

    waiting: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])
    failures: list[Exception] = field(default_factory=list[Exception])
    done: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _polling(service: Service, polled: _Polled) -> Generator[None]:
    """Polls from some clients of its own, each now this execution and now that, in the block."""
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
                answer = client.poll(execution_id)
                polled.seconds.append(answer.seconds)
                if answer.body["completedAt"]:
                    with suppress(ValueError):  # another poller was faster
                        polled.waiting.remove(execution_id)
    except Exception as error:  # noqa: BLE001 - raised again where the block ends
        polled.failures.append(error)


def _wait_for_all(service: Service) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := service.unfinished():
        if time.monotonic() > deadline:
            raise BenchError(f"{left} executions have not ended after {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)


def _none_lost(service: Service, expected: int) -> list[str]:
    ended = service.completed_at()
    if len(ended) != expected:
        raise BenchError(f"{len(ended)} of {expected} executions completed")
    return ended
