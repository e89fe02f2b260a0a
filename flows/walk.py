"""The walk: carries a plan out node by node and journals every step. Knows nothing of Prefect."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog

from database.journal import Journal
from database.records import Ending, Lease, NodeEnded, NodeStarted, RunRecord
from engine.document import Node
from engine.errors import describe
from engine.plan import SKIPPED, Outcome, Plan, Step
from engine.status import ExecutionStatus, NodeStatus
from engine.values import JsonValue, encode_json
from flows.control import RunControl, StopReason
from flows.node_result import NodeResult
from flows.patience import patiently

log = structlog.get_logger()

OnRetry = Callable[[int, str], Awaitable[None]]
"""Told of each attempt that failed and is followed by another: its number, and why it failed."""

RunNode = Callable[[Node, JsonValue, OnRetry], Coroutine[Any, Any, NodeResult]]
"""Runs one node with its input, all attempts of it. Raises when it failed."""

STOPPING_SECONDS = 10.0
"""How long a cancelled handler may take to come to its end before it is left behind."""


class Walk:
    """One execution on its way from what the journal has to its end."""

    def __init__(
        self,
        plan: Plan,
        record: RunRecord,
        lease: Lease,
        journal: Journal,
        run_node: RunNode,
        control: RunControl,
    ) -> None:
        self._plan = plan
        self._lease = lease
        self._journal = journal
        self._run_node = run_node
        self._control = control
        self._outcomes: dict[str, Outcome] = dict(record.outcomes)
        self._inputs: dict[str, str] = {}
        self._begun = dict(record.attempts)
        self._seq = record.seq
        self._writing = asyncio.Lock()
        self._running: dict[str, asyncio.Task[NodeResult]] = {}
        self._since: dict[str, float] = {}

    async def run(self) -> Ending | StopReason:
        """Walks to the end.

        Returns:
            How the execution ended, which is recorded; or why the walk stopped before its end, in
            which case the execution is as the journal has it and nothing of it runs any more.

        Raises:
            LeaseLostError: it is no longer this owner's; nothing of it runs any more.
        """
        try:
            return await self._run()
        finally:
            await self._stop_nodes()

    async def _run(self) -> Ending | StopReason:
        failed = self._plan.failure(self._outcomes) is not None
        step = Step() if failed else self._plan.ready(self._outcomes)
        ended: list[NodeEnded] = []
        while not self._control.reason:
            for node_id in step.skip:
                self._outcomes[node_id] = SKIPPED
            if not step.start and not self._running:
                return await self._finish(ended, step)
            await self._record(ended, step)
            self._launch(step)
            ended = await self._next_ended()
            failed = failed or any(
                self._plan.stops(node.node_id, self._outcomes[node.node_id]) for node in ended
            )
            ids = [node.node_id for node in ended]
            step = Step() if failed else self._plan.after(ids, self._outcomes)
        return await self._stop(ended, self._control.reason)

    async def _next_ended(self) -> list[NodeEnded]:
        """Waits until a node ended or the walk shall stop; what ended is in the outcomes then."""
        await asyncio.wait(
            [*self._running.values(), self._control.stopped], return_when=asyncio.FIRST_COMPLETED
        )
        return self._take_ended()

    def _take_ended(self) -> list[NodeEnded]:
        done = [node_id for node_id, task in self._running.items() if task.done()]
        return [ended for node_id in done if (ended := self._conclude(node_id))]

    def _conclude(self, node_id: str) -> NodeEnded | None:
        task = self._running.pop(node_id)
        duration = round((time.monotonic() - self._since.pop(node_id)) * 1000)
        if task.cancelled():
            if self._control.reason is None:
                # The handler cancelled itself: a failure like any other, and not of the service's.
                return self._failed(node_id, "the handler was cancelled from inside", duration)
            return None
        error = task.exception()
        if error is not None:
            return self._failed(node_id, describe(error), duration)
        result = task.result()
        self._outcomes[node_id] = Outcome(NodeStatus.COMPLETED, result.result)
        log.debug("node_completed", node_id=node_id, duration_ms=duration)
        return NodeEnded(node_id, NodeStatus.COMPLETED, duration, result.output_data, result.detail)

    def _failed(self, node_id: str, reason: str, duration: int) -> NodeEnded:
        self._outcomes[node_id] = Outcome(NodeStatus.ERROR, error=reason)
        log.info("node_failed", node_id=node_id, duration_ms=duration, reason=reason)
        return NodeEnded(node_id, NodeStatus.ERROR, duration, error=reason)

    async def _record(self, ended: Sequence[NodeEnded], step: Step) -> None:
        if not ended and not step.start and not step.skip:
            return
        starts = [self._starting(node_id) for node_id in step.start]
        in_flight = [*self._running, *step.start]
        current = in_flight[-1] if in_flight else None
        progress = self._plan.progress(self._outcomes)
        skipped = self._skipped(step)

        async def write() -> int:
            return await self._journal.record_step(
                self._lease,
                self._seq,
                progress,
                current,
                ended=ended,
                skipped=skipped,
                started=starts,
            )

        async with self._writing:
            self._seq = await patiently(write, "recording a step", self._shall_leave)

    def _starting(self, node_id: str) -> NodeStarted:
        text = encode_json(self._plan.node_input(node_id, self._outcomes))
        self._inputs[node_id] = text
        attempts = self._begun.get(node_id, 0)
        return NodeStarted(self._plan.node(node_id), text, attempts + 1, resumed=attempts > 0)

    def _launch(self, step: Step) -> None:
        for node_id in step.start:
            # Read back from its text, so that a handler that changes its input changes no other's.
            data = json.loads(self._inputs.pop(node_id))
            self._since[node_id] = time.monotonic()
            work = self._run_node(self._plan.node(node_id), data, self._retry_noted(node_id))
            self._running[node_id] = asyncio.create_task(work, name=node_id)

    def _retry_noted(self, node_id: str) -> OnRetry:
        before = self._begun.get(node_id, 0)

        async def write(following: int, error: str) -> None:
            async def once() -> int:
                return await self._journal.record_retry(
                    self._lease, self._seq, node_id, following, error
                )

            async with self._writing:
                self._seq = await patiently(once, "recording a retry", self._shall_leave)

        async def note(attempt: int, error: str) -> None:
            following = before + attempt + 1
            log.info("node_retry", node_id=node_id, attempt=following, reason=error)
            # The node may be cancelled at any await; its write must not break in the middle.
            await asyncio.shield(asyncio.ensure_future(write(following, error)))

        return note

    async def _finish(self, ended: Sequence[NodeEnded], step: Step) -> Ending:
        failure = self._plan.failure(self._outcomes)
        final = None if failure else self._plan.final_output(self._outcomes)
        ending = Ending(
            ExecutionStatus.FAILED if failure else ExecutionStatus.COMPLETED,
            self._plan.progress(self._outcomes),
            error=failure,
            node_results=self._node_results(),
            final_output=None if failure else encode_json(final),
        )
        await self._write_ending(ending, ended, self._skipped(step))
        return ending

    async def _stop(self, ended: list[NodeEnded], reason: StopReason) -> Ending | StopReason:
        """Stops what runs; records the end of a cancelled execution, and what had ended anyway."""
        since = dict(self._since)
        in_flight = list(self._running)
        await self._stop_nodes()
        ended = [*ended, *self._take_ended()]
        if reason == StopReason.LEASE_LOST:
            return reason
        if reason == StopReason.SHUTDOWN:
            await self._record(ended, Step())
            return reason
        known = {node.node_id for node in ended}
        now = time.monotonic()
        cancelled = [
            NodeEnded(i, NodeStatus.CANCELLED, round((now - since[i]) * 1000))
            for i in in_flight
            if i not in known
        ]
        ending = Ending(
            ExecutionStatus.CANCELLED,
            self._plan.progress(self._outcomes),
            node_results=self._node_results(),
        )
        await self._write_ending(ending, [*ended, *cancelled], [])
        return ending

    async def _write_ending(
        self, ending: Ending, ended: Sequence[NodeEnded], skipped: Sequence[Node]
    ) -> None:
        async def write() -> None:
            await self._journal.finish(self._lease, self._seq, ending, ended=ended, skipped=skipped)

        async with self._writing:
            await patiently(write, "recording the end", self._shall_leave)

    def _node_results(self) -> str:
        return encode_json(
            {
                node_id: outcome.result
                for node_id, outcome in self._outcomes.items()
                if outcome.status == NodeStatus.COMPLETED
            }
        )

    def _skipped(self, step: Step) -> list[Node]:
        return [self._plan.graph.nodes[node_id] for node_id in step.skip]

    def _shall_leave(self) -> bool:
        return self._control.reason in (StopReason.SHUTDOWN, StopReason.LEASE_LOST)

    async def _stop_nodes(self) -> None:
        """Cancels the nodes in flight and waits for their end."""
        for task in self._running.values():
            task.cancel()
        if not self._running:
            return
        _, left = await asyncio.wait(self._running.values(), timeout=STOPPING_SECONDS)
        for task in left:
            log.warning("handler_does_not_stop", node_id=task.get_name())
            del self._running[task.get_name()]
