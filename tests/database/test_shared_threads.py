"""Threads for SQLite: waiting work shares transactions, and submissions are written first."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from database.connection.commit_signal import CommitSignal
from database.connection.engines import open_reading_engine, open_writing_engine
from database.connection.reader import ThreadedReader
from database.connection.writer import SingleWriter
from engine.errors import ExecutionNotFoundError, StorageError

Work = Callable[[Connection], object]
Run = Callable[[Work], Awaitable[object]]


class Gate:
    """A query or change that occupies its thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(10)


class Recorder:
    """The order of changes and commits."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def named(self, name: str) -> Work:
        def work(_connection: Connection) -> str:
            self.steps.append(name)
            return name

        return work


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}"


@pytest.fixture
async def writing(url: str) -> AsyncIterator[tuple[SingleWriter, Recorder]]:
    """Yield a writer, and the recorder of its commits."""
    engine, recorder = open_writing_engine(url), Recorder()
    event.listen(engine, "commit", lambda _: recorder.steps.append("commit"))
    writer = SingleWriter(engine, CommitSignal())
    yield writer, recorder
    await asyncio.to_thread(writer.close)


async def occupy(run: Run, gate: Gate) -> "asyncio.Future[object]":
    """Let a gate occupy the thread of a reader or writer."""
    blocker = asyncio.ensure_future(run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    return blocker


async def release(gate: Gate, *work: "asyncio.Future[object]") -> None:
    """Open a gate when all tasks have queued their work, and wait for them."""
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.wait(work)


async def test_submissions_are_committed_before_the_steps_that_wait_longer(
    writing: tuple[SingleWriter, Recorder],
) -> None:
    writer, recorder = writing
    gate = Gate()
    blocker = await occupy(writer.run, gate)
    steps = [asyncio.create_task(writer.run(recorder.named(name))) for name in ("step", "other")]
    first = [
        asyncio.create_task(writer.run(recorder.named(name), urgent=True)) for name in ("a", "b")
    ]
    await release(gate, blocker, *steps, *first)
    assert recorder.steps == ["commit", "a", "b", "commit", "step", "other", "commit"]
    assert [task.result() for task in (*steps, *first)] == ["step", "other", "a", "b"]


async def test_a_series_of_submissions_does_not_stop_the_steps(
    writing: tuple[SingleWriter, Recorder],
) -> None:
    writer, recorder = writing
    gate, second = Gate(), Gate()
    blocker = await occupy(writer.run, gate)
    tasks = [
        asyncio.create_task(writer.run(second, urgent=True)),
        asyncio.create_task(writer.run(recorder.named("step"))),
    ]
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.to_thread(second.entered.wait, 10)
    tasks.append(asyncio.create_task(writer.run(recorder.named("later"), urgent=True)))
    await release(second, blocker, *tasks)
    assert recorder.steps == ["commit", "commit", "step", "commit", "later", "commit"]


async def test_a_cancelled_change_does_not_run_and_a_failed_one_fails_alone(
    writing: tuple[SingleWriter, Recorder],
) -> None:
    writer, recorder = writing
    gate = Gate()

    def fail(_connection: Connection) -> object:
        raise LookupError("wrong")

    blocker = await occupy(writer.run, gate)
    cancelled = asyncio.create_task(writer.run(recorder.named("cancelled")))
    failed = asyncio.create_task(writer.run(fail))
    kept = asyncio.create_task(writer.run(recorder.named("kept")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await release(gate, blocker, cancelled, failed, kept)
    assert isinstance(failed.exception(), LookupError)
    assert kept.result() == "kept"
    assert "cancelled" not in recorder.steps


async def test_closing_executes_the_queued_changes(
    writing: tuple[SingleWriter, Recorder],
) -> None:
    writer, recorder = writing
    gate = Gate()
    blocker = await occupy(writer.run, gate)
    tasks = [
        asyncio.create_task(writer.run(recorder.named("step"))),
        asyncio.create_task(writer.run(recorder.named("submission"), urgent=True)),
    ]
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(writer.close))
    gate.opened.set()
    await asyncio.wait([closing, blocker, *tasks])
    assert recorder.steps == ["commit", "submission", "commit", "step", "commit"]
    with pytest.raises(StorageError, match="closed"):
        await writer.run(recorder.named("late"))


async def test_waiting_brief_queries_share_a_transaction_and_fail_alone(url: str) -> None:
    engine = open_reading_engine(url)
    begun: list[object] = []
    event.listen(engine, "begin", begun.append)
    reader = ThreadedReader(engine)
    gate = Gate()

    def fail(_connection: Connection) -> object:
        raise ExecutionNotFoundError("e")

    def count(connection: Connection) -> object:
        return connection.scalar(text("SELECT count(*) FROM sqlite_master"))

    def read_missing_table(connection: Connection) -> object:
        return connection.scalar(text("SELECT 1 FROM missing"))

    blocker = await occupy(partial(reader.run, brief=True), gate)
    queries = [
        asyncio.create_task(reader.run(query, brief=True))
        for query in (count, fail, read_missing_table, count)
    ]
    await release(gate, blocker, *queries)
    found = [task.exception() or task.result() for task in queries]
    assert (found[0], found[3]) == (0, 0)
    assert isinstance(found[1], ExecutionNotFoundError)
    assert isinstance(found[2], StorageError)
    assert len(begun) == 2
    await asyncio.to_thread(reader.close)
