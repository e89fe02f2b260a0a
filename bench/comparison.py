"""Comparison: the same load on every contender, alternating in one run."""

import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench.client import BenchError
from bench.contenders import Api, Contender, Mode, Running
from bench.processes import cpu_seconds, resident_mb

CLIENTS = 10
EXECUTIONS = 100
"""Executions of one measurement of throughput."""
ALONE = 15
"""Executions one after another, without other load."""
AT_ONCE = 200
ROUNDS = 2
WARM_UP = 20
POLL_PAUSE_SECONDS = 0.02
ALONE_POLL_PAUSE_SECONDS = 0.002
"""Pause of a client that is alone, in seconds. An execution ends within one pause of 20 ms, which
would hide its time."""
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one contender in one mode, from one round."""

    per_second: float
    cpu_ms: float | None
    alone_ms: float
    at_once_seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of one contender in one mode: the mean of all rounds."""

    contender: Contender
    mode: Mode
    figures: Figures
    started_in: float
    idle_mb: float | None


def compare(directory: Path, contenders: Sequence[Contender]) -> list[Result]:
    """Start every contender, and measure all modes of each in ``ROUNDS`` alternating rounds.

    Raises:
        BenchError: If a contender does not start, or an execution fails.
    """
    rounds: dict[tuple[str, Mode], list[Figures]] = {}
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        idle: dict[str, float | None] = {}
        for contender in contenders:
            own = directory / contender.name.replace(", ", "-").lower()
            own.mkdir()
            running[contender.name] = stack.enter_context(contender.start(own))
            _run(running[contender.name], contender.modes[0], WARM_UP, clients=1)
            idle[contender.name] = resident_mb(running[contender.name].pid)
        for _ in range(ROUNDS):
            for mode in Mode:
                for contender in contenders:
                    if mode in contender.modes:
                        figures = _measure(running[contender.name], mode)
                        rounds.setdefault((contender.name, mode), []).append(figures)
    return [
        Result(
            contender,
            mode,
            _mean(rounds[contender.name, mode]),
            running[contender.name].started_in,
            idle[contender.name],
        )
        for contender in contenders
        for mode in contender.modes
    ]


def _mean(rounds: Sequence[Figures]) -> Figures:
    cpu = [figures.cpu_ms for figures in rounds if figures.cpu_ms is not None]
    return Figures(
        statistics.mean(figures.per_second for figures in rounds),
        statistics.mean(cpu) if cpu else None,
        statistics.mean(figures.alone_ms for figures in rounds),
        statistics.mean(figures.at_once_seconds for figures in rounds),
    )


def _measure(running: Running, mode: Mode) -> Figures:
    before = cpu_seconds(running.pid)
    seconds = _run(running, mode, EXECUTIONS, CLIENTS)
    after = cpu_seconds(running.pid)
    cpu = None if before is None or after is None else (after - before) * 1_000 / EXECUTIONS
    return Figures(
        EXECUTIONS / seconds, cpu, _alone_ms(running, mode), _run(running, mode, AT_ONCE, AT_ONCE)
    )


def _run(running: Running, mode: Mode, executions: int, clients: int) -> float:
    """Run executions from ``clients`` at a time; return the seconds until all have ended."""
    left = iter(range(executions))
    lock = threading.Lock()

    def work() -> None:
        with closing(running.api()) as api:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                run_once(api, mode)

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for client in [pool.submit(work) for _ in range(clients)]:
            client.result()
    return time.perf_counter() - begun


def _alone_ms(running: Running, mode: Mode) -> float:
    """Return the median time of an execution without other load, in milliseconds."""
    times: list[float] = []
    with closing(running.api()) as api:
        for _ in range(ALONE):
            begun = time.perf_counter()
            run_once(api, mode, ALONE_POLL_PAUSE_SECONDS)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1_000


def run_once(api: Api, mode: Mode, pause_seconds: float = POLL_PAUSE_SECONDS) -> None:
    """Run one execution until its end, with a pause between two polls.

    Raises:
        BenchError: If it has not ended after ``TIMEOUT_SECONDS``, or has failed.
    """
    if mode is not Mode.POLLED:
        api.run(mode)
        return
    execution_id = api.start()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not api.has_ended(execution_id):
        if time.monotonic() > deadline:
            raise BenchError(f"an execution has not ended after {TIMEOUT_SECONDS:.0f} s")
        time.sleep(pause_seconds)
