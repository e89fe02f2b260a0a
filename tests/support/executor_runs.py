"""Executor runs: runs the executor with a journal and with nodes in memory, in virtual time.

Each transaction is a line of text, so that a test compares the whole history of an execution and
fails if anything else is written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from database.encryption import DataEncryption
from database.executions.journal import Journal
from database.executions.journal_records import (
    ExecutionResult,
    JournalState,
    NodeChanges,
    NodeEnded,
    NodeStarted,
    RetryLater,
)
from database.records import Lease
from engine.document import Node
from engine.inputs import start_manually
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.outcome import Progress
from engine.parking import Resumption
from engine.plan import Plan
from flows.execution import loop_progress, node_times
from flows.execution.context import ExecutorContext
from flows.execution.executor import Executor
from flows.execution.signals import ExecutionSignals, StopReason
from flows.nodes.progress import NodeProgress, publish_nowhere
from flows.nodes.result import NodeResult, checked_result
from flows.nodes.retry_policy import OnRetry
from tests.support.plans import graph

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = Lease("e1", "w1", 60)

Handler = Callable[[Any], Awaitable[Mapping[str, Any] | NodeResult]]
"""Returns the result of a node for its input."""


def now() -> datetime:
    """Return the virtual time as a time of the clock."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


@contextmanager
def virtual_monotonic_time():
    """Measure durations in the virtual time of the running event loop."""
    virtual = SimpleNamespace(monotonic=lambda: 1_000 + asyncio.get_running_loop().time())
    with patch.object(node_times, "time", virtual), patch.object(loop_progress, "time", virtual):
        yield


def text_of(changes: NodeChanges) -> str:
    """Return the rows of a transaction in their order; earlier steps end with ``/``."""
    earlier = [f"{text_of(step.changes)} /" for step in changes.earlier]
    ended = [f"{node.node_id} {node.status}" for node in changes.ended]
    decided = [f"{node.node.id} {node.status}" for node in changes.decided]
    started = [f"{start.node.id} starts" for start in changes.started]
    return ", ".join([*earlier, *ended, *decided, *started]).replace("/,", "/")


class MemoryJournal:
    """Keeps the transactions of one execution; ``errors`` are raised by the next ones instead."""

    def __init__(self) -> None:
        self.encryption = DataEncryption("key", None)
        self.lines: list[str] = []
        self.changes: list[NodeChanges] = []
        self.progress: list[Progress | None] = []
        self.current: list[str | None] = []
        self.retries: list[RetryLater] = []
        self.result: ExecutionResult | None = None
        self.resumed: dict[str, Resumption] = {}
        self.reads = 0
        self.errors: list[BaseException | None] = []
        """The errors of the next transactions; ``None`` for one that succeeds."""
        self.seq = 0
        self.hold: asyncio.Event | None = None
        """The transactions wait for it."""
        self.open = 0

    async def resumptions(self, lease: Lease) -> dict[str, Resumption]:
        self.reads += 1
        return dict(self.resumed)

    async def expire(self, lease: Lease, node_ids: Sequence[str]) -> dict[str, Resumption]:
        await self._write(f"expire {', '.join(node_ids)}")
        for node_id in node_ids:
            self.resumed.setdefault(node_id, Resumption(expired=True))
        return dict(self.resumed)

    async def park(
        self, lease: Lease, due: datetime | None, permit_waits: Sequence[str] = ()
    ) -> None:
        until = "forever" if due is None else f"until {(due - START).total_seconds():g} s"
        await self._write(" ".join([f"park {until}", *permit_waits]))

    async def record_step(
        self,
        lease: Lease,
        seq: int,
        progress: Progress,
        current_node_id: str | None,
        *,
        changes: NodeChanges,
    ) -> int:
        assert seq == self.seq
        await self._write(text_of(changes))
        self.changes.append(changes)
        self.progress.append(progress)
        self.current.append(current_node_id)
        self.seq += len(changes)
        return self.seq

    async def record_retry(self, lease: Lease, seq: int, node_id: str, retry: RetryLater) -> int:
        assert seq == self.seq
        await self._write(f"{node_id} attempt {retry.attempt}: {retry.error}")
        self.retries.append(retry)
        self.seq += 1
        return self.seq

    async def record_report(
        self, lease: Lease, seq: int, node_id: str, percentage: int | None, message: str | None
    ) -> int:
        assert seq == self.seq
        await self._write(f"{node_id} {percentage} %: {message}")
        self.seq += 1
        return self.seq

    async def finish(
        self, lease: Lease, seq: int, result: ExecutionResult, *, changes: NodeChanges
    ) -> None:
        assert seq == self.seq
        await self._write(f"{text_of(changes)} | {result.status}".removeprefix(" | "))
        self.changes.append(changes)
        self.result = result

    async def _write(self, line: str) -> None:
        self.open += 1
        assert self.open == 1, "two transactions of an execution at the same time"
        try:
            if self.hold is not None:
                await self.hold.wait()
            if self.errors and (error := self.errors.pop(0)) is not None:
                raise error
            moment = asyncio.get_running_loop().time()
            self.lines.append(f"{moment:g}: {line}")
        finally:
            self.open -= 1

    @property
    def ended(self) -> dict[str, NodeEnded]:
        """The last row of the end of each node run."""
        rows = (node for changes in self._all() for node in changes.ended)
        return {node.node_id: node for node in rows}

    @property
    def started(self) -> dict[str, NodeStarted]:
        """The last row of the start of each node run."""
        rows = (start for changes in self._all() for start in changes.started)
        return {start.node.id: start for start in rows}

    def _all(self) -> list[NodeChanges]:
        return [
            part
            for changes in self.changes
            for part in (*(step.changes for step in changes.earlier), changes)
        ]


@dataclass
class MemoryNodes:
    """Runs nodes; those without a handler complete at once with their id as output."""

    handlers: dict[str, Handler] = field(default_factory=dict[str, Handler])
    pure: set[str] = field(default_factory=set[str])
    synchronous: set[str] = field(default_factory=set[str])
    calls: list[str] = field(default_factory=list[str])
    failed: dict[str, int] = field(default_factory=dict[str, int])
    """Number of failed attempts that each run was started with."""
    on_retry: dict[str, OnRetry] = field(default_factory=dict[str, OnRetry])
    progress: dict[str, NodeProgress] = field(default_factory=dict[str, NodeProgress])
    resumed: list[tuple[str, int | None, str | None]] = field(
        default_factory=list[tuple[str, int | None, str | None]]
    )

    @property
    def trace(self) -> Any:
        return self

    def node_resumed(self, node: Node, waited_ms: int | None, error: str | None) -> None:
        self.resumed.append((node.id, waited_ms, error))

    async def run(
        self,
        node: Node,
        input_data: Any,
        on_retry: OnRetry,
        progress: NodeProgress,
        failed: int = 0,
    ) -> Any:
        self.calls.append(node.id)
        self.failed[node.id], self.on_retry[node.id] = failed, on_retry
        self.progress[node.id] = progress
        handler = self.handlers.get(node.id) or self.handlers.get(node.id.partition("[")[0])
        result = await handler(input_data) if handler else {"outputData": node.id}
        return result if isinstance(result, NodeResult) else checked_result(result)

    def interrupts(self, node: Node) -> bool:
        return node.id not in self.synchronous

    def traced(self, node: Node) -> Any:
        return node

    def waiting_for_permits(self) -> int:
        return 0

    def park_waiting(self) -> None:
        raise AssertionError("no node waits for a permit")

    def is_pure(self, node: Node) -> bool:
        return node.id.partition("[")[0] in self.pure


class ExecutorRun:
    """One execution of a drawn workflow (see ``tests.support.plans``)."""

    def __init__(
        self,
        nodes: str,
        ways: str = "",
        *,
        limits: RunLimits = DEFAULT_RUN_LIMITS,
        state: Mapping[str, Any] | None = None,
        turn: asyncio.Lock | None = None,
        **configs: dict[str, Any],
    ) -> None:
        """Draw the workflow.

        ``state`` is the state in the journal, by the names of the fields of ``JournalState``.
        ``turn`` is shared by the executions of one event loop; see ``DeferredSteps``.
        """
        drawn = graph(nodes, ways, **configs)
        self.plan = Plan(drawn, start_manually(drawn, None))
        self.journal = MemoryJournal()
        self.nodes = MemoryNodes()
        self.children_changed = 0
        self.signals = ExecutionSignals(self._children_changed)
        self.limits = limits
        record = JournalState("e1", "{}", None, 0, cancel_requested=False, **(state or {}))
        self.context = ExecutorContext(
            LEASE,
            cast("Journal", self.journal),
            self.nodes,
            self.signals,
            now,
            publish_nowhere,
            limits,
            turn or asyncio.Lock(),
        )
        self.executor = Executor(self.plan, self.plan.new_states(), record, self.context)

    def _children_changed(self) -> None:
        self.children_changed += 1

    def at(self, seconds: float, action: Callable[..., object], *arguments: Any) -> None:
        """Call a function at a virtual time."""
        asyncio.get_running_loop().call_at(seconds, action, *arguments)

    async def run(self) -> ExecutionResult | StopReason:
        """Run the execution; its durations are in virtual time."""
        with virtual_monotonic_time():
            return await self.executor.run()

    @property
    def lines(self) -> list[str]:
        """The transactions: the virtual time in seconds, and their rows."""
        return self.journal.lines


def sleeper(seconds: float, result: Mapping[str, Any] | None = None) -> Handler:
    """Return a handler that takes some time."""

    async def handle(input_data: Any) -> Mapping[str, Any]:
        await asyncio.sleep(seconds)
        return result or {"outputData": seconds}

    return handle


def returns(**result: Any) -> Handler:
    """Return a handler that returns a result at once."""
    return sleeper(0, result)


def raises(error: Exception) -> Handler:
    """Return a handler that fails at once."""

    async def handle(input_data: Any) -> Mapping[str, Any]:
        raise error

    return handle


def waits(until_seconds: float | None, output: Any = None, **park: Any) -> Handler:
    """Return a handler that parks its node until a virtual time."""
    until = None if until_seconds is None else START + timedelta(seconds=until_seconds)
    text = None if until is None else until.isoformat()
    return returns(outputData=output, park={"until": text, **park})
