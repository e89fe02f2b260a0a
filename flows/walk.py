"""The walk: carries a plan out node by node and journals every step. Knows nothing of Prefect."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from database import Clock, to_text
from database.foreign_ends import EndedElsewhereError
from database.journal import Journal
from database.node_records import NodeEnded, NodeStarted, RetryLater
from database.records import Ending, Lease, RunRecord
from engine.errors import describe
from engine.nested_plan import NestedPlan
from engine.parking import ParkedNode, ParkedRetry, is_parking
from engine.plan import SKIPPED, Outcome, Step
from engine.status import ExecutionStatus, NodeStatus
from engine.values import JsonValue, encode_json
from flows.control import RunControl, StopReason
from flows.execution_writer import ExecutionWriter
from flows.loop_reports import LoopReports
from flows.node_result import NodeResult, error_detail
from flows.node_runs import NodeRuns
from flows.node_times import NodeTimes
from flows.parked_nodes import ParkedNodes
from flows.reports import Publish, Reports, publish_nowhere
from flows.retries import RetryParkedError
from flows.rows import Rows

log = structlog.get_logger()

LEFT_BEHIND = "its handler is synchronous and cannot be interrupted: it may run on for a while"
"""What the log says of a node whose execution was stopped around it."""

CLOSED = "its loop, or its item of it, has failed"
"""What the log says of a node that waited in a loop."""

STOPPING_SECONDS = 10.0
"""How long a cancelled handler may take to come to its end before it is left behind."""


class Walk:
    """One execution on its way from what the journal has to its end."""

    def __init__(  # noqa: PLR0913 - all of them from the carrier
        self,
        plan: NestedPlan,
        record: RunRecord,
        lease: Lease,
        journal: Journal,
        runner: NodeRuns,
        control: RunControl,
        clock: Clock,
        *,
        publish: Publish = publish_nowhere,
    ) -> None:
        self._plan = plan
        self._writer = ExecutionWriter(journal, lease, record.seq, control)
        self._runner = runner
        self._control = control
        self._clock = clock
        self._outcomes: dict[str, Outcome] = record.outcomes
        self._rows = Rows(plan, record.outcomes, journal.vault)
        self._parked = ParkedNodes(record.parked, plan.is_loop)
        self._loop_reports = LoopReports(plan.how_far)
        self._begun = record.attempts
        self._failed_attempts = record.failed_attempts
        self._times = NodeTimes(record.times, clock)
        self._unwritten: tuple[Sequence[NodeEnded], Step] = ((), Step())
        """The step that was not recorded, because another program had ended the execution."""
        self._running: dict[str, asyncio.Task[NodeResult]] = {}
        self._reports = Reports(lease.execution_id, publish)

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
            await self._reports.settle()

    async def _run(self) -> Ending | StopReason:
        ended = await self._take_due()
        stopped = self._plan.failure(self._outcomes) is not None
        step = self._without_parked(self._plan.ready(self._outcomes, self._parked.loops))
        held_back = False
        while not self._control.reason:
            if self._control.draining and step.start:
                # Once a node was held back the walk is not done, whatever else ends after it.
                held_back = True
                step = replace(step, start=())
            ended = self._decide(ended, step)
            stopped = stopped or any(self._plan.stops(*it) for it in step.decided.items())
            retrying = not (stopped or self._control.draining)
            if retrying and (due := self._parked.due_retries(self._clock())):
                step = replace(step, start=(*due, *step.start))
            if not step.start and not self._running:
                if held_back:
                    await self._record(ended, step)
                    return StopReason.SHUTDOWN
                if stopped or not self._parked:
                    return await self._finish(ended, step)
                await self._record(ended, step)
                return await self._park()
            inputs = await self._record(ended, step)
            self._launch(inputs)
            ended = await self._next_ended(retrying=retrying)
            decided = [node.node_id for node in ended if node.node_id in self._outcomes]
            stopped = stopped or any(self._plan.stops(i, self._outcomes[i]) for i in decided)
            step = Step()
            if not stopped:
                step = self._plan.after(decided, self._outcomes, self._parked.loops)
        return await self._stop(ended, self._control.reason)

    def _without_parked(self, step: Step) -> Step:
        """``step`` less the nodes that wait: they have begun, and are not decided."""
        return replace(step, start=tuple(i for i in step.start if i not in self._parked))

    def _decide(self, ended: Sequence[NodeEnded], step: Step) -> list[NodeEnded]:
        """Notes what the plan decided by itself; gives what has ended, with the loops that have."""
        self._outcomes.update(dict.fromkeys(step.skip, SKIPPED))
        self._outcomes.update(step.decided)
        loops = [key for key in step.decided if key in self._parked]
        for key in loops:
            self._parked.take(key)
        closed: list[NodeEnded] = []
        for key in list(self._parked) if step.closes else ():
            if self._plan.is_closed(key, self._outcomes):
                child = self._parked.take(key).child_id
                closed.append(
                    NodeEnded(
                        key,
                        NodeStatus.CANCELLED,
                        None,
                        error=CLOSED,
                        gives_up=child,
                        waited_ms=self._times.resume(key),
                    )
                )
        return [
            *(node for node in ended if node.node_id not in loops),
            *(self._rows.gone_on(key, step.decided[key], self._times.resume(key)) for key in loops),
            *closed,
        ]

    # Waiting

    async def _next_ended(self, *, retrying: bool) -> list[NodeEnded]:
        """Waits for a node to end or fall due, or for news; what ended is in the outcomes then."""
        news = asyncio.ensure_future(self._control.news())
        try:
            await asyncio.wait(
                [*self._running.values(), news],
                timeout=self._seconds_until_due(retrying=retrying),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            news.cancel()
        return [*self._take_ended(), *await self._take_due()]

    def _seconds_until_due(self, *, retrying: bool) -> float | None:
        due = self._parked.next_due(retries=retrying)
        return None if due is None else max(0.0, (due - self._clock()).total_seconds())

    async def _take_due(self) -> list[NodeEnded]:
        """The parked nodes that may go on, by the clock or because somebody said so."""
        if self._parked.hear:
            self._parked.tell(await self._writer.resumptions())
        children = self._parked.children()
        due = self._parked.take_due(self._clock())
        self._outcomes.update(due)
        return [
            self._rows.gone_on(i, outcome, self._times.resume(i), children.get(i))
            for i, outcome in due.items()
        ]

    async def _park(self) -> Ending | StopReason:
        due = self._parked.next_due()
        try:
            await self._writer.park(due)
        except EndedElsewhereError:
            self._control.stop(StopReason.CANCEL)
            return await self._stop([], StopReason.CANCEL)
        log.info("execution_parked", until=None if due is None else to_text(due))
        return StopReason.PARKED

    # Nodes

    def _take_ended(self) -> list[NodeEnded]:
        done = [node_id for node_id, task in self._running.items() if task.done()]
        return [ended for node_id in done if (ended := self._conclude(node_id))]

    def _conclude(self, node_id: str) -> NodeEnded | None:
        task = self._running.pop(node_id)
        duration = self._times.stop(node_id)
        if task.cancelled():
            if self._control.reason is None:
                # The handler cancelled itself: a failure like any other, and not of the service's.
                return self._failed(node_id, "the handler was cancelled from inside", duration)
            return None
        error = task.exception()
        if isinstance(error, RetryParkedError):
            return self._retry_later(node_id, error, duration)
        if error is not None:
            return self._failed(node_id, describe(error), duration, error_detail(error))
        result = task.result()
        texts = self._rows.stored(node_id, result.result, result.output_data, result.detail)
        if is_parking(result.result):
            if self._plan.is_closed(node_id, self._outcomes):
                return NodeEnded(node_id, NodeStatus.CANCELLED, duration, error=CLOSED)
            parked = ParkedNode(result.result)
            self._parked.add(node_id, parked)
            until = None if parked.until is None else to_text(parked.until)
            log.debug("node_parked", node_id=node_id, until=until)
            return NodeEnded(
                node_id,
                NodeStatus.WAITING,
                duration,
                *texts,
                wait_until=until,
                waiting_since=self._times.park(node_id),
                child=result.child,
            )
        self._outcomes[node_id] = Outcome(NodeStatus.COMPLETED, result.result)
        log.debug("node_completed", node_id=node_id, duration_ms=duration)
        return NodeEnded(node_id, NodeStatus.COMPLETED, duration, *texts)

    def _retry_later(self, node_id: str, later: RetryParkedError, duration: int) -> NodeEnded:
        """Park a node run until its next attempt."""
        if self._plan.is_closed(node_id, self._outcomes):
            return NodeEnded(node_id, NodeStatus.CANCELLED, duration, error=CLOSED)
        until = self._clock() + timedelta(seconds=later.pause_seconds)
        begun = self._begun.get(node_id, 0) + later.failed_attempts
        failed = self._failed_attempts.get(node_id, 0) + later.failed_attempts
        self._begun[node_id], self._failed_attempts[node_id] = begun, failed
        self._parked.add(node_id, ParkedRetry(until))
        retry = RetryLater(begun + 1, failed, later.reason)
        log.info(
            "retry_parked",
            node_id=node_id,
            attempt=retry.attempt,
            until=to_text(until),
            reason=later.reason,
        )
        return NodeEnded(
            node_id,
            NodeStatus.WAITING,
            duration,
            wait_until=to_text(until),
            waiting_since=self._times.park(node_id),
            retry=retry,
        )

    def _failed(
        self,
        node_id: str,
        reason: str,
        duration: int,
        detail: Mapping[str, JsonValue] | None = None,
    ) -> NodeEnded:
        self._outcomes[node_id] = Outcome(NodeStatus.ERROR, detail or {}, error=reason)
        log.info("node_failed", node_id=node_id, duration_ms=duration, reason=reason)
        text = encode_json(dict(detail)) if detail else None
        return NodeEnded(node_id, NodeStatus.ERROR, duration, detail=text, error=reason)

    def _launch(self, inputs: dict[str, str]) -> None:
        for node_id, text in inputs.items():
            # Read back from its text, so that a handler that changes its input changes no other's.
            begun, failed = self._begun.get(node_id, 0), self._failed_attempts.get(node_id, 0)
            work = self._runner.run(
                self._plan.node(node_id),
                json.loads(text),
                self._writer.retry_of(node_id, begun, failed),
                self._reports.of_node(node_id, begun, self._writer.report_of(node_id)),
                failed,
            )
            self._times.start(node_id)
            self._running[node_id] = asyncio.create_task(work, name=node_id)

    async def _stop_nodes(self) -> None:
        """Cancels the nodes in flight and waits for their end."""
        self._reports.close()
        for task in self._running.values():
            task.cancel()
        if not self._running:
            return
        _, left = await asyncio.wait(self._running.values(), timeout=STOPPING_SECONDS)
        for task in left:
            log.warning("handler_does_not_stop", node_id=task.get_name())
            del self._running[task.get_name()]

    # Writing

    async def _record(self, ended: Sequence[NodeEnded], step: Step) -> dict[str, str]:
        """Journals a step; gives the inputs of the nodes that start, as JSON text."""
        if not ended and step == Step():
            return {}
        starts = [self._starting(node_id) for node_id in step.start]
        in_flight = [*self._parked, *self._running, *step.start]
        try:
            await self._writer.step(
                self._plan.progress(self._outcomes),
                in_flight[-1] if in_flight else None,
                ended=ended,
                decided=self._rows.decided(step),
                started=starts,
            )
        except EndedElsewhereError:
            # Handled like a cancellation, which records the step with the end.
            self._unwritten = (ended, replace(step, start=()))
            self._control.stop(StopReason.CANCEL)
            return {}
        if any(node.child or node.gives_up for node in ended):
            self._control.announce()
        for key, percentage, message in self._loop_reports.due(list(self._parked.loops)):
            await self._writer.report(key, percentage, message)
        return {start.node.id: start.input_data for start in starts}

    def _starting(self, node_id: str) -> NodeStarted:
        text = encode_json(self._plan.node_input(node_id, self._outcomes))
        attempts = self._begun.get(node_id, 0)
        if node_id not in self._parked:
            return NodeStarted(self._plan.node(node_id), text, attempts + 1, resumed=attempts > 0)
        self._parked.take(node_id)
        return NodeStarted(
            self._plan.node(node_id),
            text,
            attempts + 1,
            resumed=True,
            was_parked=True,
            waited_ms=self._times.resume(node_id),
        )

    async def _finish(self, ended: Sequence[NodeEnded], step: Step) -> Ending:
        failure = self._plan.failure(self._outcomes)
        status = ExecutionStatus.FAILED if failure else ExecutionStatus.COMPLETED
        ending = self._rows.ending(status, failure)
        await self._writer.finish(ending, ended, self._rows.decided(step))
        return ending

    async def _stop(self, ended: list[NodeEnded], reason: StopReason) -> Ending | StopReason:
        """Stops what runs; records the end of a cancelled execution, and what had ended anyway."""
        in_flight = list(self._running)
        await self._stop_nodes()
        unwritten, step = self._unwritten
        ended = [*unwritten, *ended, *self._take_ended()]
        if reason == StopReason.LEASE_LOST:
            return reason
        if reason == StopReason.SHUTDOWN:
            await self._record(ended, Step())
            return reason
        known = {node.node_id for node in ended}
        cancelled = [
            NodeEnded(
                i,
                NodeStatus.CANCELLED,
                self._times.stop(i),
                error=None if self._runner.interrupts(self._plan.node(i)) else LEFT_BEHIND,
            )
            for i in in_flight
            if i not in known
        ]
        ending = self._rows.ending(ExecutionStatus.CANCELLED)
        if reason == StopReason.TIMEOUT:
            running = ", ".join(f"'{i}'" for i in in_flight) or "none"
            error = f"The execution took longer than it may; nodes that ran: {running}"
            ending = self._rows.ending(ExecutionStatus.FAILED, error)
        await self._writer.finish(ending, [*ended, *cancelled], self._rows.decided(step))
        return ending
