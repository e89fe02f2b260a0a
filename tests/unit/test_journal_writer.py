"""Journal writer: deferred steps precede every other row, and large steps are split."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal import Journal
from database.executions.journal_records import (
    ExecutionResult,
    JournalState,
    NodeChanges,
    NodeEnded,
    NodeOutcomeRecorded,
    NodeStarted,
    RetryLater,
)
from engine.document import Node
from engine.errors import LeaseLostError, StorageUnavailableError
from engine.limits import DEFAULT_RUN_LIMITS
from engine.node_run_key import NodeRunKey
from engine.outcome import Tally
from engine.parking import Resumption
from engine.status import ExecutionStatus, NodeStatus
from flows.execution.context import ExecutorContext
from flows.execution.journal_writer import JournalWriter
from flows.execution.signals import ExecutionSignals, StopReason
from flows.execution.stored_sizes import StoredSizes
from flows.nodes.progress import publish_nowhere
from tests.support.executor_runs import LEASE, START, MemoryJournal, MemoryNodes, now, text_of
from tests.support.virtual_time import in_virtual_time

COMPLETED = ExecutionResult(ExecutionStatus.COMPLETED)


def starts(*names: str) -> NodeChanges:
    return NodeChanges(
        started=[NodeStarted(_node(name), "null", 1, resumed=False) for name in names]
    )


def ends(*names: str, status: NodeStatus = NodeStatus.COMPLETED) -> NodeChanges:
    return NodeChanges([NodeEnded(name, status, 1) for name in names])


def _node(name: str) -> Node:
    return Node(name, "http", name, {})


class Writer:
    """A writer and its journal in memory."""

    def __init__(self, counted: Sequence[str] = ()) -> None:
        self.journal, self.signals = MemoryJournal(), ExecutionSignals()
        self.sizes = StoredSizes(DEFAULT_RUN_LIMITS, JournalState("e1", "{}", None, 0, False))
        self.turn = asyncio.Lock()
        context = ExecutorContext(
            LEASE,
            cast("Journal", self.journal),
            MemoryNodes(),
            self.signals,
            now,
            publish_nowhere,
            DEFAULT_RUN_LIMITS,
            self.turn,
        )
        self.writer = JournalWriter(context, 0, Tally(frozenset(counted), {}), self.sizes)

    async def defer(self, changes: NodeChanges) -> None:
        await self.writer.record_step(changes, "deferred", pure=True)

    @property
    def rows(self) -> list[str]:
        """The transactions without their times."""
        return [line.partition(": ")[2] for line in self.journal.lines]


Write = Callable[[JournalWriter], Awaitable[Any]]


@pytest.mark.parametrize(
    ("write", "lines"),
    [
        (lambda w: w.record_step(starts("b"), "b"), ["a starts / b starts"]),
        (
            lambda w: w.record_step(ends("b", status=NodeStatus.WAITING), "b"),
            ["a starts", "b waiting"],
        ),
        (lambda w: w.record_progress("b", 5, "m"), ["a starts", "b 5 %: m"]),
        (lambda w: w.record_progress("b", 5, "m", lambda: False), []),
        (
            lambda w: w.record_retry("b", RetryLater(2, 1, "broke")),
            ["a starts", "b attempt 2: broke"],
        ),
        (lambda w: w.park(None), ["a starts", "park forever"]),
        (lambda w: w.finish(COMPLETED, NodeChanges()), ["a starts / | completed"]),
        (lambda w: w.flush(), ["a starts"]),
        (lambda w: w.resumptions(), []),
        (lambda w: w.expire([NodeRunKey("b")]), ["expire b"]),
        (lambda w: w.close(), []),
    ],
)
@in_virtual_time
async def test_a_deferred_step_is_recorded_before_every_other_row(
    write: Write, lines: list[str]
) -> None:
    writer = Writer()
    await writer.defer(starts("a"))
    await write(writer.writer)
    assert writer.rows == lines
    await writer.writer.close()
    await asyncio.sleep(1)
    assert writer.rows == lines


@pytest.mark.parametrize(
    "write",
    [
        lambda w: w.flush(),
        lambda w: w.close(),
        lambda w: w.resumptions(),
        lambda w: w.record_progress("b", 5, "m", lambda: False),
    ],
)
@in_virtual_time
async def test_nothing_is_written_without_a_change(write: Write) -> None:
    writer = Writer()
    await write(writer.writer)
    await asyncio.sleep(1)
    assert writer.rows == []


@in_virtual_time
async def test_a_step_is_only_deferred_if_it_is_pure_and_then_for_20_ms() -> None:
    writer = Writer()
    await writer.writer.record_step(starts("a"), "a")
    await writer.defer(ends("a"))
    assert writer.rows == ["a starts"]
    await asyncio.sleep(1)
    assert writer.journal.lines == ["0: a starts", "0.02: a completed"]
    assert writer.journal.current == ["a", "deferred"]
    assert not writer.turn.locked()


@in_virtual_time
async def test_a_pure_step_is_recorded_at_once_if_another_execution_defers_steps() -> None:
    writer = Writer()
    await writer.turn.acquire()
    await writer.defer(starts("a"))
    assert writer.rows == ["a starts"]
    waiting = asyncio.ensure_future(
        writer.writer.record_step(ends("a"), "a", pure=True, alone=True)
    )
    await asyncio.sleep(1)
    assert not waiting.done()
    writer.turn.release()
    await waiting
    await writer.writer.flush()
    assert writer.rows == ["a starts", "a completed"]


@in_virtual_time
async def test_deferred_steps_that_could_not_be_recorded_are_part_of_the_next_transaction() -> None:
    writer = Writer()
    await writer.defer(starts("a"))
    writer.journal.errors = [LeaseLostError("e1")]
    assert not writer.writer.must_flush
    await asyncio.sleep(1)
    assert writer.rows == []
    assert writer.writer.must_flush
    await asyncio.wait_for(writer.signals.wait_for_signal(), 1)
    await writer.defer(ends("a"))
    assert writer.rows == ["a starts / a completed"]
    assert not writer.writer.must_flush
    assert not writer.turn.locked()


@in_virtual_time
async def test_the_progress_and_the_size_count_each_row_once() -> None:
    writer = Writer(["a", "b", "c"])
    skipped = NodeOutcomeRecorded(_node("c"))
    await writer.defer(starts("a", "b"))
    await writer.writer.record_step(
        NodeChanges(ends("a").ended, [skipped], starts("d").started), "d"
    )
    found = writer.journal.progress[0]
    assert found
    assert (found.total, found.completed, found.skipped, found.failed) == (3, 1, 1, 0)
    assert found.stored_bytes == writer.sizes.stored == 4 * 512
    [changes] = writer.journal.changes
    [earlier] = changes.earlier
    assert earlier.progress
    assert (earlier.progress.completed, earlier.progress.stored_bytes) == (0, 2 * 512)
    assert earlier.at == "2026-01-01T00:00:00.000Z"


def _many(ended: int, decided: int, started: int) -> NodeChanges:
    return NodeChanges(
        ends(*[f"e{number}" for number in range(ended)]).ended,
        [NodeOutcomeRecorded(_node(f"d{number}")) for number in range(decided)],
        starts(*[f"s{number}" for number in range(started)]).started,
    )


def _parts(changes: NodeChanges) -> tuple[int, int, int]:
    return len(changes.ended), len(changes.decided), len(changes.started)


@pytest.mark.parametrize(
    ("rows", "transactions"),
    [
        ((500, 0, 0), [(500, 0, 0)]),
        ((100, 200, 200), [(100, 200, 200)]),
        ((501, 0, 1), [(500, 0, 0), (1, 0, 1)]),
        ((500, 1, 0), [(500, 0, 0), (0, 1, 0)]),
        ((499, 1, 1), [(499, 1, 0), (0, 0, 1)]),
        ((0, 500, 1), [(0, 500, 0), (0, 0, 1)]),
        ((1, 1200, 1), [(1, 499, 0), (0, 500, 0), (0, 201, 1)]),
        ((0, 0, 501), [(0, 0, 500), (0, 0, 1)]),
    ],
)
@in_virtual_time
async def test_a_transaction_has_at_most_500_rows_in_the_order_of_the_step(
    rows: tuple[int, int, int], transactions: list[tuple[int, int, int]]
) -> None:
    writer, changes = Writer(), _many(*rows)
    await writer.writer.record_step(changes, "a")
    assert [_parts(part) for part in writer.journal.changes] == transactions
    assert ", ".join(writer.rows) == text_of(changes)
    writer = Writer()
    await writer.writer.finish(COMPLETED, changes)
    if len(transactions) == 1:
        assert writer.rows == [f"{text_of(changes)} | completed"]
    else:
        assert [_parts(part) for part in writer.journal.changes] == [*transactions, (0, 0, 0)]
        assert writer.rows[-1] == "completed"


@in_virtual_time
async def test_an_end_that_another_program_stored_keeps_the_rows_of_a_large_step() -> None:
    writer = Writer()
    writer.journal.errors = [EndedElsewhereError("e1")]
    await writer.writer.finish(COMPLETED, _many(501, 0, 0))
    assert [_parts(part) for part in writer.journal.changes] == [(501, 0, 0)]


@in_virtual_time
async def test_a_retry_counts_the_attempts_of_earlier_runs_and_survives_a_cancellation() -> None:
    writer = Writer()
    record = writer.writer.retry_recorder("a", 4, 2)
    writer.journal.hold = asyncio.Event()
    task = asyncio.ensure_future(record(1, "broke"))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    writer.journal.hold.set()
    await asyncio.sleep(1)
    assert writer.journal.retries == [RetryLater(6, 3, "broke")]
    await record(3, "again")
    assert writer.journal.retries[1:] == [RetryLater(8, 5, "again")]


@in_virtual_time
async def test_resumptions_have_the_keys_of_node_runs() -> None:
    writer = Writer()
    writer.journal.resumed = {"a[2]": Resumption()}
    key, expired = NodeRunKey("a", (2,)), NodeRunKey("b")
    assert await writer.writer.resumptions() == {key: Resumption()}
    found = await writer.writer.expire([expired])
    assert found == {key: Resumption(), expired: Resumption(expired=True)}


@pytest.mark.parametrize("reason", list(StopReason))
@in_virtual_time
async def test_only_a_shutdown_or_a_lost_lease_ends_the_retries_of_a_transaction(
    reason: StopReason,
) -> None:
    writer = Writer()
    writer.journal.errors = [StorageUnavailableError("busy")] * 3
    writer.signals.stop(reason)
    if reason in (StopReason.SHUTDOWN, StopReason.LEASE_LOST):
        with pytest.raises(StorageUnavailableError):
            await writer.writer.park(START)
        assert writer.rows == []
    else:
        await writer.writer.park(START)
        assert writer.journal.lines == ["0.7: park until 0 s"]
