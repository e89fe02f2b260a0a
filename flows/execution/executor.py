"""Executor: executes a plan node by node and records every step. It does not use Prefect."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

import structlog

from database import to_text
from database.executions.foreign_ends import EndedElsewhereError
from database.executions.journal_records import (
    ExecutionResult,
    JournalState,
    NodeChanges,
    NodeEnded,
)
from engine.errors import NodeError
from engine.json_encoding import TooLargeError
from engine.loop_states import LoopStates
from engine.node_run_key import NodeRunKey
from engine.outcome import SKIPPED, Outcome, Step, Tally
from engine.plan import Plan
from engine.status import DECIDED, ExecutionStatus, NodeStatus
from flows.execution.context import ExecutorContext
from flows.execution.journal_rows import JournalRows
from flows.execution.journal_writer import JournalWriter
from flows.execution.loop_progress import LoopProgress
from flows.execution.node_starts import NodeStart, NodeStarts
from flows.execution.running_nodes import LOOP_ITEM_FAILED_MESSAGE, RunningNodes
from flows.execution.signals import StopReason
from flows.execution.start_queue import StartQueue
from flows.execution.state import ExecutionState

log = structlog.get_logger()


class Executor:
    """Executes one execution from the state in its journal to its end."""

    def __init__(
        self, plan: Plan, loop_states: LoopStates, record: JournalState, context: ExecutorContext
    ) -> None:
        limits = context.limits
        state = ExecutionState.of(plan, loop_states, record, limits, context.clock)
        tally = Tally(plan.counted, record.outcomes)
        self._plan = plan
        self._context = context
        self._signals = context.signals
        self._state = state
        self._rows = JournalRows(plan, record.outcomes, context.journal.encryption, limits)
        self._writer = JournalWriter(context, record.seq, tally, state.sizes)
        self._running = RunningNodes(context, state, self._rows, self._writer)
        self._queue = StartQueue(loop_states, record.outcomes, limits.concurrent_nodes)
        self._starts = NodeStarts(state)
        self._loop_progress = LoopProgress(loop_states.progress_of)
        self._unrecorded: tuple[Sequence[NodeEnded], Step] = ((), Step())
        """The step that was not recorded because another program ended the execution."""

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
            await self._running.cancel_all()
            await self._running.settle_progress()
            await self._writer.close()

    async def _run(self) -> ExecutionResult | StopReason:
        plan, loop_states = self._plan, self._state.loop_states
        outcomes, parked = self._state.outcomes, self._state.parked
        ended = await self._resume_due()
        stopped = plan.failure(outcomes) is not None
        step = plan.ready(outcomes, loop_states, parked.loops)
        # Parked node runs have started, although they have no outcome.
        step = replace(step, start=tuple(key for key in step.start if key not in parked))
        held_back = False
        self._queue.add(parked.permit_waits())  # their permits may be granted
        while not self._signals.reason:
            self._queue.add(step.start)
            if self._signals.draining and self._queue:
                # From now on the execution is unfinished, whatever else ends.
                held_back = True
                self._queue.clear()
            ended = await self._apply(step, ended)
            stopped = stopped or any(plan.stops(*decided) for decided in step.decided.items())
            retrying = not (stopped or self._signals.draining)
            if stopped:
                self._queue.clear()
            elif retrying:
                self._queue.add_first(parked.due_retries(self._context.clock()))
                if self._queue or self._running:  # the execution is not parked now
                    self._queue.add_first(parked.permit_waits())
            start = self._queue.take(len(self._running))
            if not start and not self._running:
                if not held_back and (stopped or not parked):
                    return await self._finish(ended, step)
                await self._record(ended, step)  # A service that stops defers no step.
                if held_back:
                    return StopReason.SHUTDOWN
                return await self._park()
            self._running.launch(await self._record(ended, step, start))
            ended = await self._next_ended(retrying=retrying)
            if not held_back and self._leaves_slot():
                self._context.runner.park_waiting()
            keys = [NodeRunKey.parse(node.node_id) for node in ended]
            decided = [key for key in keys if key in outcomes]
            stopped = stopped or any(plan.stops(key, outcomes[key]) for key in decided)
            step = Step()
            if not stopped:
                step = plan.after(decided, outcomes, loop_states, parked.loops)
        return await self._stop(ended, self._signals.reason)

    def _leaves_slot(self) -> bool:
        """Return whether the slot is needed, and only requests for permits keep it."""
        signals = self._signals
        if not (signals.slot_wanted or signals.draining):
            return False
        signals.slot_wanted = False
        if self._queue or not self._running:
            return False
        return self._context.runner.waiting_for_permits() == len(self._running)

    async def _apply(self, step: Step, ended: Sequence[NodeEnded]) -> list[NodeEnded]:
        """Set the outcomes that the plan decided; return ``ended`` and the loops that ended."""
        outcomes, parked = self._state.outcomes, self._state.parked
        outcomes.update(dict.fromkeys(step.skip, SKIPPED))
        outcomes.update(step.decided)
        loops = [key for key in step.decided if key in parked]
        loop_ids = {str(key) for key in loops}
        for key in loops:
            parked.take(key)
        cancelled: list[NodeEnded] = []
        for key in list(parked) if step.cancels_scopes else ():
            if self._state.loop_states.is_cancelled_scope(key, outcomes):
                child = parked.take(key).child_id
                row = NodeEnded(
                    str(key),
                    NodeStatus.CANCELLED,
                    None,
                    error=LOOP_ITEM_FAILED_MESSAGE,
                    abandoned_child=child,
                    waited_ms=self._state.times.resume(key),
                )
                cancelled.append(row)
        return [
            *(node for node in ended if node.node_id not in loop_ids),
            *[await self._resume(key, step.decided[key]) for key in loops],
            *cancelled,
        ]

    async def _next_ended(self, *, retrying: bool) -> list[NodeEnded]:
        """Wait for the end of a node run, a due time or a signal; return the rows of the ends."""
        signal = asyncio.ensure_future(self._signals.wait_for_signal())
        seconds = self._queue.seconds_until_growth()
        if seconds is None:
            due = self._state.parked.next_due(retries=retrying, queued=self._queue)
            if due is not None:
                seconds = max(0.0, (due - self._context.clock()).total_seconds())
        try:
            await self._running.wait(signal, seconds)
        finally:
            signal.cancel()
        ended = await self._running.take_ended()
        self._queue.last_ended = len(ended)
        return ended + await self._resume_due()

    async def _resume_due(self) -> list[NodeEnded]:
        """End the parked node runs that are due or resumed; return the rows of their ends."""
        parked = self._state.parked
        if parked.can_be_resumed:
            parked.apply(await self._writer.resumptions())
        now = self._context.clock()
        if expired := parked.expired(now):
            # An answer may arrive now, so the journal decides which of both was first.
            parked.apply(await self._writer.expire(expired))
        children = parked.children()
        due = parked.take_due(now)
        return [await self._resume(key, outcome, children.get(key)) for key, outcome in due.items()]

    async def _resume(
        self, key: NodeRunKey, outcome: Outcome, child: str | None = None
    ) -> NodeEnded:
        """Set the outcome of a node run that waited, and return the row of its end."""
        state, limits = self._state, self._context.limits
        waited = state.times.resume(key)
        runner = self._context.runner
        node = runner.traced(self._plan.original_node(key))
        runner.trace.node_resumed(node, waited, outcome.error)
        state.outcomes[key] = outcome
        is_loop = self._plan.is_loop(key)  # The plan has checked the size of a loop's result.
        max_bytes = sys.maxsize if is_loop else limits.node_result_bytes
        try:
            ended = await self._rows.resumed(key, outcome, waited, child, max_bytes)
            (state.sizes.count if is_loop else state.sizes.add_result)(ended)
        except (TooLargeError, NodeError) as error:
            too_large = isinstance(error, TooLargeError)
            reason = str(limits.result_too_large() if too_large else error)
            failed = state.outcomes[key] = Outcome(NodeStatus.ERROR, error=reason)
            return await self._rows.resumed(key, failed, waited, child, 0)
        state.outcomes[key] = replace(outcome, size=len(ended.output_data or ""))
        return ended

    async def _record(
        self, ended: Sequence[NodeEnded], step: Step, start: Sequence[NodeRunKey] = ()
    ) -> list[NodeStart]:
        """Record a step; return the node runs that start, with their inputs."""
        nothing = not ended and not start and not step.skip and not step.decided
        if nothing and not self._writer.must_flush:
            return []
        starts = [await self._starts.prepare(key) for key in start]
        unfinished = [*self._state.parked, *self._running.keys(), *start]
        started = [node_start.row for node_start in starts]
        changes = NodeChanges(ended, self._rows.decided(step), started)
        current = str(unfinished[-1]) if unfinished else None
        try:
            await self._writer.record_step(
                changes, current, pure=self._is_pure(changes), alone=not self._running
            )
        except EndedElsewhereError:
            # Treated as a cancellation, which records the step together with the end.
            self._unrecorded = (ended, replace(step, start=()))
            self._signals.stop(StopReason.CANCEL)
            return []
        if any(node.child or node.abandoned_child for node in ended):
            self._signals.on_children_changed()
        for key, percentage, message in self._loop_progress.due(list(self._state.parked.loops)):
            await self._writer.record_progress(str(key), percentage, message)
        return starts

    def _is_pure(self, changes: NodeChanges) -> bool:
        """Return whether a crash may undo this step, so that it may be recorded with a later one.

        All node runs that ended and that start are pure. Those that start are new, and those that
        ended are not parked.
        """
        plan, is_pure = self._plan, self._context.runner.is_pure
        return all(
            node.status in DECIDED and is_pure(plan.node(NodeRunKey.parse(node.node_id)))
            for node in changes.ended
        ) and all(not start.resumed and is_pure(start.node) for start in changes.started)

    async def _park(self) -> ExecutionResult | StopReason:
        due = self._state.parked.next_due()
        try:
            await self._writer.park(due, list(map(str, self._state.parked.permit_waits())))
        except EndedElsewhereError:
            self._signals.stop(StopReason.CANCEL)
            return await self._stop([], StopReason.CANCEL)
        log.info("execution_parked", until=None if due is None else to_text(due))
        return StopReason.PARKED

    async def _finish(self, ended: Sequence[NodeEnded], step: Step) -> ExecutionResult:
        outcomes = self._state.outcomes
        failure, key = self._plan.failure(outcomes), self._plan.failed_node(outcomes)
        status = ExecutionStatus.FAILED if failure else ExecutionStatus.COMPLETED
        changes = NodeChanges(ended, self._rows.decided(step))
        return await self._end(status, failure, changes, None if key is None else str(key))

    async def _stop(
        self, ended: Sequence[NodeEnded], reason: StopReason
    ) -> ExecutionResult | StopReason:
        """Cancel the node runs; record what had ended, and the end if the execution has ended."""
        in_flight = self._running.keys()
        await self._running.cancel_all()
        unrecorded, step = self._unrecorded
        ended = [*unrecorded, *ended, *await self._running.take_ended()]
        if reason == StopReason.LEASE_LOST:
            return reason
        if reason == StopReason.SHUTDOWN:
            await self._record(ended, Step())
            await self._writer.flush()
            return reason
        known = {node.node_id for node in ended}
        cancelled = [self._running.cancelled(key) for key in in_flight if str(key) not in known]
        changes = NodeChanges([*ended, *cancelled], self._rows.decided(step))
        if reason != StopReason.TIMEOUT:
            return await self._end(ExecutionStatus.CANCELLED, None, changes)
        names = ", ".join(f"'{key}'" for key in in_flight) or "none"
        error = f"The execution took longer than it may; nodes that ran: {names}"
        return await self._end(ExecutionStatus.FAILED, error, changes)

    async def _end(
        self,
        status: ExecutionStatus,
        error: str | None,
        changes: NodeChanges,
        failed_node_id: str | None = None,
    ) -> ExecutionResult:
        stored_bytes = self._state.sizes.stored
        result = await self._rows.result(status, error, stored_bytes=stored_bytes)
        result = replace(result, failed_node_id=failed_node_id)
        await self._writer.finish(result, changes)
        return result
