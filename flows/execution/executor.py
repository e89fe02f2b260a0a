"""Executor: executes a plan node by node and records every step. It does not know Prefect."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from database import Clock, to_text
from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal import Journal
from database.executions.journal_records import ExecutionResult, JournalState, NodeEnded, RetryLater
from database.records import Lease
from engine.errors import NodeError, describe
from engine.json_encoding import TooLargeError
from engine.json_values import JsonValue, encode_json
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.loop_states import LoopStates
from engine.node_run_key import NodeRunKey
from engine.outcome import SKIPPED, Outcome, Step
from engine.parking import ParkedNode, ParkedRetry, is_parking
from engine.plan import Plan
from engine.status import ExecutionStatus, NodeStatus
from engine.tally import Tally
from flows.execution.journal_rows import JournalRows
from flows.execution.journal_writer import JournalWriter
from flows.execution.loop_progress import LoopProgress
from flows.execution.node_starts import NodeStart, NodeStarts
from flows.execution.node_times import NodeTimes
from flows.execution.parked_nodes import ParkedNodes
from flows.execution.protocol import NodeExecutor
from flows.execution.signals import ExecutionSignals, StopReason
from flows.execution.start_queue import StartQueue
from flows.execution.stored_sizes import StoredSizes
from flows.nodes.progress import ProgressReporter, Publish, publish_nowhere
from flows.nodes.result import NodeResult, error_detail
from flows.nodes.retry_policy import RetryParkedError

log = structlog.get_logger()

SYNC_HANDLER_ABANDONED = "its handler is synchronous and cannot be interrupted; it may continue"
LOOP_ITEM_FAILED = "its loop, or its item of it, has failed"

NODE_CANCEL_TIMEOUT_SECONDS = 10.0
"""Timeout for the cancelled handlers of an execution."""


class Executor:
    """One execution on its way from what the journal has to its end."""

    def __init__(  # noqa: PLR0913, PLR0917 - all of them from the context
        self,
        plan: Plan,
        states: LoopStates,
        record: JournalState,
        lease: Lease,
        journal: Journal,
        runner: NodeExecutor,
        control: ExecutionSignals,
        clock: Clock,
        publish: Publish = publish_nowhere,
        limits: RunLimits = DEFAULT_RUN_LIMITS,
    ) -> None:
        self._plan = plan
        self._states = states
        self._limits = limits
        self._runner = runner
        self._control = control
        self._clock = clock
        self._outcomes: dict[NodeRunKey, Outcome] = record.outcomes
        self._begun = record.attempts
        self._rows = JournalRows(plan, record.outcomes, journal.encryption, limits)
        self._sizes = StoredSizes(limits, record)
        tally = Tally(plan.counted, record.outcomes)
        self._writer = JournalWriter(journal, lease, record.seq, control, tally, self._sizes)
        self._queue = StartQueue(states, record.outcomes, limits.concurrent_nodes)
        self._parked = ParkedNodes(record.parked, plan.is_loop)
        self._loop_reports = LoopProgress(states.progress_of)
        self._failed_attempts = record.failed_attempts
        self._times = NodeTimes(record.times, clock)
        self._unwritten: tuple[Sequence[NodeEnded], Step] = ((), Step())  # see _record
        state = (self._sizes, self._parked, self._times)
        self._starts = NodeStarts(plan, record.outcomes, states, self._begun, *state)
        self._running: dict[NodeRunKey, asyncio.Task[NodeResult]] = {}
        self._reports = ProgressReporter(lease.execution_id, publish)

    async def run(self) -> ExecutionResult | StopReason:
        """Execute the plan. No node runs any more when this returns or raises.

        Returns:
            The result, which is recorded, or the reason why the execution stopped before its end.

        Raises:
            LeaseLostError: If another worker took over the execution.
        """
        try:
            return await self._run()
        finally:
            await self._stop_nodes()
            await self._reports.settle()

    async def _run(self) -> ExecutionResult | StopReason:
        ended = await self._take_due()
        stopped = self._plan.failure(self._outcomes) is not None
        step = self._plan.ready(self._outcomes, self._states, self._parked.loops)
        # Nodes that wait have begun, and are not decided.
        step = replace(step, start=tuple(i for i in step.start if i not in self._parked))
        held_back = False
        while not self._control.reason:
            self._queue.add(step.start)
            if self._control.draining and self._queue:
                # Once a node was held back the walk is not done, whatever else ends after it.
                held_back = True
                self._queue.clear()
            ended = await self._decide(ended, step)
            stopped = stopped or any(self._plan.stops(*it) for it in step.decided.items())
            retrying = not (stopped or self._control.draining)
            if stopped:
                self._queue.clear()
            elif retrying:
                self._queue.add_first(self._parked.due_retries(self._clock()))
            start = self._queue.take(len(self._running))
            if not start and not self._running:
                if held_back:
                    await self._record(ended, step)
                    return StopReason.SHUTDOWN
                if stopped or not self._parked:
                    return await self._finish(ended, step)
                await self._record(ended, step)
                return await self._park()
            self._launch(await self._record(ended, step, start))
            ended = await self._next_ended(retrying=retrying)
            keys = [NodeRunKey.parse(node.node_id) for node in ended]
            decided = [key for key in keys if key in self._outcomes]
            stopped = stopped or any(self._plan.stops(i, self._outcomes[i]) for i in decided)
            step = Step()
            if not stopped:
                step = self._plan.after(decided, self._outcomes, self._states, self._parked.loops)
        return await self._stop(ended, self._control.reason)

    async def _decide(self, ended: Sequence[NodeEnded], step: Step) -> list[NodeEnded]:
        """Notes what the plan decided by itself; gives what has ended, with the loops that have."""
        self._outcomes.update(dict.fromkeys(step.skip, SKIPPED))
        self._outcomes.update(step.decided)
        loops = [key for key in step.decided if key in self._parked]
        loop_ids = {str(key) for key in loops}
        for key in loops:
            self._parked.take(key)
        closed: list[NodeEnded] = []
        for key in list(self._parked) if step.cancels_scopes else ():
            if self._states.is_cancelled_scope(key, self._outcomes):
                child = self._parked.take(key).child_id
                node = NodeEnded(str(key), NodeStatus.CANCELLED, None, error=LOOP_ITEM_FAILED)
                waited = self._times.resume(key)
                closed.append(replace(node, abandoned_child=child, waited_ms=waited))
        return [
            *(node for node in ended if node.node_id not in loop_ids),
            *[await self._resume_node(key, step.decided[key]) for key in loops],
            *closed,
        ]

    # Waiting

    async def _next_ended(self, *, retrying: bool) -> list[NodeEnded]:
        """Waits for a node to end or fall due, or for news; what ended is in the outcomes then."""
        news = asyncio.ensure_future(self._control.wait_for_signal())
        growth = self._queue.seconds_until_growth()
        try:
            await asyncio.wait(
                [*self._running.values(), news],
                timeout=growth or self._seconds_until_due(retrying=retrying),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            news.cancel()
        ended = await self._take_ended()
        self._queue.last_ended = len(ended)
        return ended + await self._take_due()

    def _seconds_until_due(self, *, retrying: bool) -> float | None:
        due = self._parked.next_due(retries=retrying, queued=self._queue)
        return None if due is None else max(0.0, (due - self._clock()).total_seconds())

    async def _take_due(self) -> list[NodeEnded]:
        """The parked nodes that may go on, by the clock or because somebody said so."""
        if self._parked.hear:
            self._parked.tell(await self._writer.resumptions())
        children = self._parked.children()
        due = self._parked.take_due(self._clock())
        return [await self._resume_node(i, outcome, children.get(i)) for i, outcome in due.items()]

    async def _resume_node(
        self, key: NodeRunKey, outcome: Outcome, child: str | None = None
    ) -> NodeEnded:
        """Note how a node that waited ends, and return the row of its end."""
        waited = self._times.resume(key)
        self._outcomes[key] = outcome
        is_loop = self._plan.is_loop(key)  # whose size the plan has checked
        most = sys.maxsize if is_loop else self._limits.node_result_bytes
        try:
            ended = await self._rows.resume(key, outcome, waited, child, most)
            (self._sizes.count if is_loop else self._sizes.add_result)(ended)
        except (TooLargeError, NodeError) as error:
            too_large = isinstance(error, TooLargeError)
            reason = str(self._limits.result_too_large() if too_large else error)
            failed = self._outcomes[key] = Outcome(NodeStatus.ERROR, error=reason)
            return await self._rows.resume(key, failed, waited, child, 0)
        self._outcomes[key] = replace(outcome, size=len(ended.output_data or ""))
        return ended

    async def _park(self) -> ExecutionResult | StopReason:
        due = self._parked.next_due()
        try:
            await self._writer.park(due)
        except EndedElsewhereError:
            self._control.stop(StopReason.CANCEL)
            return await self._stop([], StopReason.CANCEL)
        log.info("execution_parked", until=None if due is None else to_text(due))
        return StopReason.PARKED

    # Nodes

    async def _take_ended(self) -> list[NodeEnded]:
        done = [key for key, task in self._running.items() if task.done()]
        return [ended for key in done if (ended := await self._conclude(key))]

    async def _conclude(self, key: NodeRunKey) -> NodeEnded | None:
        task = self._running.pop(key)
        duration = self._times.stop(key)
        if task.cancelled():
            if self._control.reason is None:
                # The handler cancelled itself: a failure like any other, and not of the service's.
                return self._failed(key, "the handler was cancelled from inside", duration)
            return None
        error = task.exception()
        if isinstance(error, RetryParkedError):
            return self._retry_later(key, error, duration)
        if error is not None:
            return self._failed(key, describe(error), duration, error_detail(error))
        result = task.result()
        texts = await self._rows.stored(key, result)
        completed = NodeEnded(str(key), NodeStatus.COMPLETED, duration, *texts)
        try:
            self._sizes.add_result(completed)
        except NodeError as too_large:
            return self._failed(key, str(too_large), duration)
        if is_parking(result.result):
            if self._states.is_cancelled_scope(key, self._outcomes):
                return NodeEnded(str(key), NodeStatus.CANCELLED, duration, error=LOOP_ITEM_FAILED)
            parked = ParkedNode(result.result)
            self._parked.add(key, parked)
            until = None if parked.until is None else to_text(parked.until)
            log.debug("node_parked", node_id=str(key), until=until)
            return NodeEnded(
                str(key),
                NodeStatus.WAITING,
                duration,
                *texts,
                wait_until=until,
                waiting_since=self._times.park(key),
                child=result.child,
            )
        size = len(result.output_data)
        self._outcomes[key] = Outcome(NodeStatus.COMPLETED, result.result, size=size)
        log.debug("node_completed", node_id=str(key), duration_ms=duration)
        return completed

    def _retry_later(self, key: NodeRunKey, later: RetryParkedError, duration: int) -> NodeEnded:
        """Park a node run until its next attempt."""
        if self._states.is_cancelled_scope(key, self._outcomes):
            return NodeEnded(str(key), NodeStatus.CANCELLED, duration, error=LOOP_ITEM_FAILED)
        until = self._clock() + timedelta(seconds=later.pause_seconds)
        begun = self._begun.get(key, 0) + later.failed_attempts
        failed = self._failed_attempts.get(key, 0) + later.failed_attempts
        self._begun[key], self._failed_attempts[key] = begun, failed
        self._parked.add(key, ParkedRetry(until))
        retry = RetryLater(begun + 1, failed, later.reason)
        log.info(
            "retry_parked",
            node_id=str(key),
            attempt=retry.attempt,
            until=to_text(until),
            reason=later.reason,
        )
        return NodeEnded(
            str(key),
            NodeStatus.WAITING,
            duration,
            wait_until=to_text(until),
            waiting_since=self._times.park(key),
            retry=retry,
        )

    def _failed(
        self,
        key: NodeRunKey,
        reason: str,
        duration: int,
        detail: Mapping[str, JsonValue] | None = None,
    ) -> NodeEnded:
        self._outcomes[key] = Outcome(NodeStatus.ERROR, detail or {}, error=reason)
        log.info("node_failed", node_id=str(key), duration_ms=duration, reason=reason)
        text = encode_json(dict(detail)) if detail else None
        return NodeEnded(str(key), NodeStatus.ERROR, duration, detail=text, error=reason)

    def _launch(self, starts: Sequence[NodeStart]) -> None:
        for start in starts:
            key = start.key
            begun, failed = self._begun.get(key, 0), self._failed_attempts.get(key, 0)
            work = start.failure() or self._runner.run(
                start.row.node,
                start.input_data,
                self._writer.retry_of(str(key), begun, failed),
                self._reports.of_node(str(key), begun, self._writer.report_of(str(key))),
                failed,
            )
            self._times.start(key)
            self._running[key] = asyncio.create_task(work, name=str(key))

    async def _stop_nodes(self) -> None:
        """Cancels the nodes in flight and waits for their end."""
        self._reports.close()
        for task in self._running.values():
            task.cancel()
        if not self._running:
            return
        _, left = await asyncio.wait(self._running.values(), timeout=NODE_CANCEL_TIMEOUT_SECONDS)
        for key in [key for key, task in self._running.items() if task in left]:
            log.warning("handler_cancel_timeout", node_id=str(key))
            del self._running[key]

    # Writing

    async def _record(
        self, ended: Sequence[NodeEnded], step: Step, start: Sequence[NodeRunKey] = ()
    ) -> list[NodeStart]:
        """Journals a step; gives the node runs that start, with their inputs."""
        if not ended and not start and not step.skip and not step.decided:
            return []
        starts = [await self._starts.prepare(key) for key in start]
        in_flight = [*start[-1:], *reversed(self._running), *reversed(self._parked)]
        current = str(in_flight[0]) if in_flight else None
        rows = [it.row for it in starts]
        decided = self._rows.decided(step)
        try:
            await self._writer.step(current, ended=ended, decided=decided, started=rows)
        except EndedElsewhereError:
            # Handled like a cancellation, which records the step with the end.
            self._unwritten = (ended, replace(step, start=()))
            self._control.stop(StopReason.CANCEL)
            return []
        if any(node.child or node.abandoned_child for node in ended):
            self._control.on_children_changed()
        for key, percentage, message in self._loop_reports.due(list(self._parked.loops)):
            await self._writer.report(str(key), percentage, message)
        return starts

    async def _finish(self, ended: Sequence[NodeEnded], step: Step) -> ExecutionResult:
        failure = self._plan.failure(self._outcomes)
        status = ExecutionStatus.FAILED if failure else ExecutionStatus.COMPLETED
        ending = await self._rows.ending(status, failure, stored_bytes=self._sizes.stored)
        await self._writer.finish(ending, ended, self._rows.decided(step))
        return ending

    async def _stop(
        self, ended: list[NodeEnded], reason: StopReason
    ) -> ExecutionResult | StopReason:
        """Stops what runs; records the end of a cancelled execution, and what had ended anyway."""
        in_flight = list(self._running)
        await self._stop_nodes()
        unwritten, step = self._unwritten
        ended = [*unwritten, *ended, *await self._take_ended()]
        if reason == StopReason.LEASE_LOST:
            return reason
        if reason == StopReason.SHUTDOWN:
            await self._record(ended, Step())
            return reason
        known = {node.node_id for node in ended}
        cancelled = [
            NodeEnded(
                str(i),
                NodeStatus.CANCELLED,
                self._times.stop(i),
                error=None
                if self._runner.interrupts(self._plan.node(i))
                else SYNC_HANDLER_ABANDONED,
            )
            for i in in_flight
            if str(i) not in known
        ]
        status, error = ExecutionStatus.CANCELLED, None
        if reason == StopReason.TIMEOUT:
            running = ", ".join(f"'{i}'" for i in in_flight) or "none"
            error = f"The execution took longer than it may; nodes that ran: {running}"
            status = ExecutionStatus.FAILED
        ending = await self._rows.ending(status, error, stored_bytes=self._sizes.stored)
        await self._writer.finish(ending, [*ended, *cancelled], self._rows.decided(step))
        return ending
