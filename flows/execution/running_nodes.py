"""Running nodes: the tasks of the node runs in flight, and the journal rows of their ends."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

import structlog

from database import to_text
from database.executions.journal_records import NodeEnded, RetryLater
from engine.errors import NodeError, describe
from engine.event_waits import AwaitedEvent
from engine.human_tasks import TaskRequest
from engine.json_values import JsonValue, encode_json
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.parking import PARK, ParkedNode, ParkedPermit, ParkedRetry, is_parking
from engine.redaction import hides_data
from engine.status import NodeStatus
from flows.execution.context import ExecutorContext
from flows.execution.journal_rows import JournalRows
from flows.execution.journal_writer import JournalWriter
from flows.execution.node_starts import NodeStart
from flows.execution.state import ExecutionState
from flows.nodes.permits import PermitParkedError
from flows.nodes.progress import ProgressReporter
from flows.nodes.result import NodeResult, error_detail
from flows.nodes.retry_policy import RetryParkedError

log = structlog.get_logger()

LOOP_ITEM_FAILED_MESSAGE = "its loop, or the loop item that it belongs to, has failed"

SYNC_HANDLER_ABANDONED_MESSAGE = (
    "its handler is synchronous and cannot be interrupted; it may continue"
)

NODE_CANCEL_TIMEOUT_SECONDS = 10.0
"""Timeout for all cancelled node runs of an execution, in seconds. Each handler has
``HANDLER_CANCEL_TIMEOUT_SECONDS`` of it; the rest is for Prefect's hooks and states."""


class RunningNodes:
    """The node runs in flight, in the order of their start."""

    def __init__(
        self,
        context: ExecutorContext,
        state: ExecutionState,
        rows: JournalRows,
        writer: JournalWriter,
    ) -> None:
        self._context = context
        self._state = state
        self._rows = rows
        self._writer = writer
        self._progress = ProgressReporter(context.lease.execution_id, context.publish)
        self._tasks: dict[NodeRunKey, asyncio.Task[NodeResult]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def keys(self) -> list[NodeRunKey]:
        """Return the keys of the node runs in flight."""
        return list(self._tasks)

    def launch(self, starts: Sequence[NodeStart]) -> None:
        """Start node runs whose start is recorded."""
        state, writer = self._state, self._writer
        for start in starts:
            key, node_id = start.key, str(start.key)
            attempts, failed = state.attempts.get(key, 0), state.failed_attempts.get(key, 0)
            run = start.failure() or self._context.runner.run(
                start.row.node,
                start.input_data,
                writer.retry_recorder(node_id, attempts, failed),
                self._progress.of_node(node_id, attempts, partial(writer.record_progress, node_id)),
                failed,
            )
            state.times.start(key)
            self._tasks[key] = asyncio.create_task(run, name=node_id)

    async def wait(self, signal: asyncio.Task[None], timeout_seconds: float | None) -> None:
        """Wait until a node run ends, ``signal`` is done, or the time is over."""
        self._context.signals.in_flight = len(self._tasks)
        await asyncio.wait(
            [*self._tasks.values(), signal],
            timeout=timeout_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )

    async def take_ended(self) -> list[NodeEnded]:
        """Remove the ended node runs, set their outcomes, and return their journal rows."""
        done = [key for key, task in self._tasks.items() if task.done()]
        return [ended for key in done if (ended := await self._end(key))]

    async def cancel_all(self) -> None:
        """Cancel the node runs and wait for their end. No progress is recorded after that."""
        self._progress.close()
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            timeout = NODE_CANCEL_TIMEOUT_SECONDS
            _, unfinished = await asyncio.wait(self._tasks.values(), timeout=timeout)
            for task in unfinished:
                log.warning("handler_cancel_timeout", node_id=task.get_name())
                del self._tasks[NodeRunKey.parse(task.get_name())]

    async def settle_progress(self) -> None:
        """Wait until no progress is being recorded."""
        await self._progress.settle()

    def cancelled(self, key: NodeRunKey) -> NodeEnded:
        """Return the journal row of a node run that the end of its execution cancelled."""
        interrupted = self._context.runner.interrupts(self._state.plan.node(key))
        error = None if interrupted else SYNC_HANDLER_ABANDONED_MESSAGE
        return NodeEnded(str(key), NodeStatus.CANCELLED, self._state.times.stop(key), error=error)

    async def _end(self, key: NodeRunKey) -> NodeEnded | None:
        task = self._tasks.pop(key)
        duration = self._state.times.stop(key)
        if task.cancelled():
            if self._context.signals.reason is None:
                return self._failed(key, duration, "the handler cancelled its own task")
            return None
        error = task.exception()
        if error is None:
            return await self._succeeded(key, duration, task.result())
        if isinstance(error, RetryParkedError):
            return self._retry_parked(key, duration, error)
        if isinstance(error, PermitParkedError):
            return self._permit_parked(key, duration)
        return self._failed(key, duration, describe(error), error_detail(error))

    async def _succeeded(self, key: NodeRunKey, duration: int, result: NodeResult) -> NodeEnded:
        state, parks = self._state, is_parking(result.result)
        output, detail = await self._rows.stored(key, result)
        completed = NodeEnded(str(key), NodeStatus.COMPLETED, duration, output, detail)
        try:
            state.sizes.add_result(completed)
        except NodeError as too_large:
            return self._failed(key, duration, str(too_large))
        if not parks:
            size = len(result.output_data)
            state.outcomes[key] = Outcome(NodeStatus.COMPLETED, result.result, size=size)
            log.debug("node_completed", node_id=str(key), duration_ms=duration)
            return completed
        if state.loop_states.is_cancelled_scope(key, state.outcomes):
            return self._loop_cancelled(key, duration)
        parked = ParkedNode(result.result)
        state.parked.add(key, parked)
        until = None if parked.until is None else to_text(parked.until)
        log.debug("node_parked", node_id=str(key), until=until)
        return NodeEnded(
            str(key),
            NodeStatus.WAITING,
            duration,
            output,
            detail,
            wait_until=until,
            waiting_since=state.times.park(key),
            child=result.child,
            task=self._task_of(key, result.result),
            event=AwaitedEvent.of_park(parked.parking),
        )

    def _task_of(self, key: NodeRunKey, result: Mapping[str, JsonValue]) -> TaskRequest | None:
        """Return the task of a parked node; hidden data is not part of it."""
        message = result.get("message")
        if hides_data(self._state.plan.original_node(key)):
            message = None
        return TaskRequest.of_park(result[PARK], message if isinstance(message, str) else None)

    def _retry_parked(self, key: NodeRunKey, duration: int, error: RetryParkedError) -> NodeEnded:
        state = self._state
        if state.loop_states.is_cancelled_scope(key, state.outcomes):
            return self._loop_cancelled(key, duration)
        due = self._context.clock() + timedelta(seconds=error.pause_seconds)
        attempts = state.attempts.get(key, 0) + error.failed_attempts
        failed = state.failed_attempts.get(key, 0) + error.failed_attempts
        state.attempts[key], state.failed_attempts[key] = attempts, failed
        state.parked.add(key, ParkedRetry(due))
        until, attempt, reason = to_text(due), attempts + 1, error.reason
        log.info("retry_parked", node_id=str(key), attempt=attempt, until=until, reason=reason)
        return NodeEnded(
            str(key),
            NodeStatus.WAITING,
            duration,
            wait_until=until,
            waiting_since=state.times.park(key),
            retry=RetryLater(attempt, failed, reason),
        )

    def _permit_parked(self, key: NodeRunKey, duration: int) -> NodeEnded:
        state = self._state
        if state.loop_states.is_cancelled_scope(key, state.outcomes):
            return self._loop_cancelled(key, duration, waited_ms=0)
        state.parked.add(key, ParkedPermit())
        log.info("permit_wait_parked", node_id=str(key))
        since = state.times.park(key)
        return NodeEnded(str(key), NodeStatus.WAITING, duration, waiting_since=since)

    def _loop_cancelled(
        self, key: NodeRunKey, duration: int, waited_ms: int | None = None
    ) -> NodeEnded:
        error = LOOP_ITEM_FAILED_MESSAGE
        status = NodeStatus.CANCELLED
        return NodeEnded(str(key), status, duration, error=error, waited_ms=waited_ms)

    def _failed(
        self,
        key: NodeRunKey,
        duration: int,
        reason: str,
        detail: Mapping[str, JsonValue] | None = None,
    ) -> NodeEnded:
        self._state.outcomes[key] = Outcome(NodeStatus.ERROR, detail or {}, error=reason)
        log.info("node_failed", node_id=str(key), duration_ms=duration, reason=reason)
        text = encode_json(dict(detail)) if detail else None
        return NodeEnded(str(key), NodeStatus.ERROR, duration, detail=text, error=reason)
