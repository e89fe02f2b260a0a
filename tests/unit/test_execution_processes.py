"""Execution processes: their messages, their settings, and the restart of those that end."""

import asyncio
import io
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from config import Settings, SettingsError
from flows.processes.child_process import ChildProcess, exit_reason
from flows.processes.messages import (
    Kind,
    frame,
    message_frame,
    parse_message,
    read_frame,
    receive_frame,
)
from flows.processes.process_pool import (
    CLAIM_LEAD_SECONDS,
    MAX_RESTART_PAUSE_SECONDS,
    MIN_RESTART_PAUSE_SECONDS,
    STABLE_SECONDS,
    ProcessPool,
)
from flows.worker.state import WorkerState
from metric_families import FamilyCollector, counted, export_families, sum_families
from metrics import Metrics
from tests.support.virtual_time import run
from worker_setup import settings_of_executors


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]


def test_frames_are_read_as_they_were_written() -> None:
    written = [message_frame(Kind.CLAIM), frame(b"x" * 200_000), message_frame(Kind.STOP, n=1)]
    source = io.BytesIO(b"".join(written))
    first, large, last = (read_frame(source) for _ in range(3))
    assert first is not None
    assert parse_message(first) == {"kind": "claim"}
    assert large == b"x" * 200_000
    assert last is not None
    assert parse_message(last) == {"kind": "stop", "n": 1}
    assert read_frame(source) is None


@pytest.mark.parametrize("size", [0, 2, 6])
def test_an_incomplete_frame_is_the_end(size: int) -> None:
    data = message_frame(Kind.CLAIM)[:size]
    assert read_frame(io.BytesIO(data)) is None

    async def receive() -> bytes | None:
        source = asyncio.StreamReader()
        source.feed_data(data)
        source.feed_eof()
        return await receive_frame(source)

    assert asyncio.run(receive()) is None


def test_the_reason_of_an_end_is_an_exit_code_or_the_name_of_a_signal() -> None:
    assert [exit_reason(code) for code in (0, 3, -9)] == [
        "exit code 0",
        "exit code 3",
        "signal SIGKILL",
    ]


def test_the_processes_share_the_slots() -> None:
    shared = settings_of_executors(settings(executor_processes=3, max_concurrent_executions=8))
    assert [pickle.loads(one).max_concurrent_executions for one in shared] == [3, 3, 2]
    assert settings_of_executors(settings()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"executor_processes": 4, "max_concurrent_executions": 3},
            "EXECUTOR_PROCESSES=4 requires MAX_CONCURRENT_EXECUTIONS >= 4, but it is 3",
        ),
        (
            {"executor_processes": 1, "execution_mode": "workpool"},
            "EXECUTOR_PROCESSES requires EXECUTION_MODE=embedded",
        ),
    ],
)
def test_contradictory_settings_are_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_of_executors(settings(**values))
    assert str(error.value) == message


# Restarts


class FakeQueue:
    """Records the owners whose leases were ended."""

    def __init__(self) -> None:
        self.expired: list[str] = []

    async def expire(self, owners: list[str]) -> None:
        self.expired += owners


class FakeProcess:
    """A process that lives for some seconds."""

    def __init__(self, number: int, seconds: float) -> None:
        self.number, self.pid, self.is_ready = number, 1, True
        self.owners = [f"owner-{number}"]
        self.wakes: list[tuple[float, Kind]] = []
        self._end = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(seconds, self.kill)

    async def run(self, _: object) -> int:
        await self._end
        return 3

    def stop(self, _: float) -> None:
        self.kill()

    def kill(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    def wake(self, kind: Kind) -> None:
        self.wakes.append((asyncio.get_running_loop().time(), kind))


@pytest.fixture
def lifetime(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[float]]:
    """Return a function that sets the lifetime of processes; it returns the times of starts."""

    def set_lifetime(seconds: float) -> list[float]:
        starts: list[float] = []

        async def start(number: int, _: bytes) -> FakeProcess:
            starts.append(asyncio.get_running_loop().time())
            return FakeProcess(number, seconds)

        monkeypatch.setattr(ChildProcess, "start", start)
        return starts

    return set_lifetime


async def run_pool(seconds: float) -> FakeQueue:
    """Run a pool of one process for some seconds, and stop it."""
    pool, queue = ProcessPool([b""], lambda *_: None, lambda: None), FakeQueue()
    running = asyncio.create_task(pool.run_forever(queue, WorkerState()))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    await pool.stop(0)
    await running
    assert pool.failure == "no execution process is running"
    return queue


def test_a_process_that_ends_repeatedly_is_restarted_with_growing_pauses(
    lifetime: Callable[[float], list[float]],
) -> None:
    starts = lifetime(1.0)
    queue = run(run_pool(200))
    pauses = [later - earlier - 1.0 for earlier, later in pairwise(starts)]
    expected = [MIN_RESTART_PAUSE_SECONDS * 2**i for i in range(len(pauses))]
    assert pauses == pytest.approx([min(one, MAX_RESTART_PAUSE_SECONDS) for one in expected])
    assert pauses[-1] == pytest.approx(MAX_RESTART_PAUSE_SECONDS)
    assert queue.expired == ["owner-0"] * len(starts)


def test_a_process_that_ran_for_long_is_restarted_at_once(
    lifetime: Callable[[float], list[float]],
) -> None:
    starts = lifetime(2 * STABLE_SECONDS)
    run(run_pool(15 * STABLE_SECONDS))
    pauses = {round(later - earlier - 2 * STABLE_SECONDS, 3) for earlier, later in pairwise(starts)}
    assert pauses == {MIN_RESTART_PAUSE_SECONDS}


def test_a_process_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[float] = []

    async def start(*_: object) -> None:
        starts.append(asyncio.get_running_loop().time())
        raise OSError("no memory")

    monkeypatch.setattr(ChildProcess, "start", start)
    queue = run(run_pool(1))
    assert len(starts) > 2
    assert queue.expired == []


def test_the_processes_take_turns_to_claim_first(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[FakeProcess] = []

    async def start(number: int, _: bytes) -> FakeProcess:
        processes.append(FakeProcess(number, 100))
        return processes[-1]

    async def claim() -> None:
        pool = ProcessPool([b""] * 3, lambda *_: None, lambda: None)
        running = asyncio.create_task(pool.run_forever(FakeQueue(), WorkerState()))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        for _ in range(3):  # a burst wakes the other processes once
            pool.request_claims()
        await asyncio.sleep(1)
        pool.request_claims()
        await asyncio.sleep(1)
        await pool.stop(0)
        await running

    monkeypatch.setattr(ChildProcess, "start", start)
    run(claim())
    lead = CLAIM_LEAD_SECONDS
    assert [[time for time, _ in process.wakes] for process in processes] == [
        pytest.approx(times)
        for times in ([1, 1 + lead, 2, 2 + lead], [1, 1 + lead, 2 + lead], [1, 1 + lead, 2 + lead])
    ]


# Metrics


def test_the_sum_of_metrics_has_each_sample_once() -> None:
    processes = [Metrics(["http"]) for _ in range(3)]
    for number, metrics in enumerate(processes, 1):
        for _ in range(number):
            metrics.execution_ended("completed")
            metrics.node_ended("http", "completed", 0.01)
    families = [export_families(metrics.registry) for metrics in processes]
    samples = {
        (name, tuple(labels.items())): value
        for _, _, _, of_family in sum_families(families)
        for name, labels, value in of_family
    }
    assert samples["workflow_executions_ended_total", (("status", "completed"),)] == 6
    node = (("type", "http"), ("result", "completed"))
    assert samples["workflow_node_duration_seconds_count", node] == 6
    text = processes[0].render(sum_families(families[1:])).decode()
    assert 'workflow_executions_ended_total{status="completed"} 6.0' in text
    assert text.count("# TYPE workflow_executions_ended_total") == 1


def test_an_ended_process_keeps_its_counters_only() -> None:
    metrics = Metrics()
    metrics.execution_ended("failed")
    metrics.watch_stream_clients("wait", lambda: 3)
    families = {name for name, *_ in counted(export_families(metrics.registry))}
    assert "workflow_executions_ended" in families
    assert "workflow_stream_clients" not in families
    collected = {
        family.name for family in FamilyCollector(export_families(metrics.registry)).collect()
    }
    assert collected > families
