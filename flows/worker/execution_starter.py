"""Execution starter: runs claimed executions with the services of their worker."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from database import Database
from database.executions.journal_records import ExecutionResult
from database.executions.queue import ClaimedExecution
from engine.status import ExecutionStatus
from flows.execution.signals import ExecutionSignals
from flows.nodes.node_runner import NodeRunner
from flows.nodes.permits import NodePermits
from flows.nodes.progress import Publish, publish_nowhere
from flows.nodes.subworkflows import SubworkflowCaller
from flows.worker.execution_run import ExecutionRun, StartFlow, start_new_flow
from flows.worker.execution_trace import trace_of
from flows.worker.state import WorkerSettings, WorkerState
from flows.workflow_flow import ExecutionContext
from metrics import UNOBSERVED, Metrics
from tasks.registry import NodeTypes


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class ExecutionStarter:
    """Starts claimed executions of one process."""

    settings: WorkerSettings
    node_types: NodeTypes
    database: Database
    publish: Publish = publish_nowhere
    metrics: Metrics = UNOBSERVED
    is_stopping: Callable[[], bool] = _never
    """Returns whether the process stops; executions then start no node."""

    def start(
        self,
        claimed: ClaimedExecution,
        state: WorkerState,
        start_flow: StartFlow = start_new_flow,
    ) -> asyncio.Task[None]:
        """Run an execution in a new task, which ends when its lease is released."""
        execution_id = claimed.lease.execution_id
        signals = state.active[execution_id] = ExecutionSignals(state.on_children_changed)
        if claimed.is_limited:
            signals.mark_limited()
        if self.is_stopping():
            signals.drain()
        task = asyncio.create_task(self._run(claimed, signals, state, start_flow))
        state.tasks.add(task)
        task.add_done_callback(state.tasks.discard)
        return task

    async def _run(
        self,
        claimed: ClaimedExecution,
        signals: ExecutionSignals,
        state: WorkerState,
        start_flow: StartFlow,
    ) -> None:
        settings, execution_id = self.settings, claimed.lease.execution_id
        node_runner = NodeRunner(
            self.node_types,
            settings.handler_settings,
            execution_id,
            calls=SubworkflowCaller(
                self.database,
                self.node_types,
                settings.max_subworkflow_depth,
                settings.max_subworkflow_executions,
                settings.document_limits,
            ),
            permits=NodePermits(
                self.database,
                claimed.lease,
                claimed.origin.organization_id or "",
                state.permit_waits,
                settings.node_limits,
                signals.mark_limited,
                lambda: self.is_stopping() or signals.reason is not None,
            ),
            limits=settings.run_limits,
            metrics=self.metrics,
            trace=trace_of(claimed),
        )
        context = ExecutionContext(
            claimed.lease,
            self.database,
            node_runner,
            signals,
            self.publish,
            state.deferral_turn,
        )
        run = ExecutionRun(
            claimed,
            context,
            settings.max_recovery_attempts,
            settings.execution_timeout_seconds,
            self.is_stopping,
            self.metrics,
            start_flow,
        )
        try:
            await run.run()
        finally:
            del state.active[execution_id]
            state.claim_requested.set()
            state.execution_ended.set()
            _notify_relatives(context, state)


def _notify_relatives(context: ExecutionContext, state: WorkerState) -> None:
    """Notify the parent and the children of an ended execution now, not at the next poll."""
    if parent := state.active.get(context.parent_id or ""):
        parent.notify_resumed()
    elif context.parent_id is not None:
        state.relatives_changed.set()
    outcome = context.outcome
    if isinstance(outcome, ExecutionResult) and outcome.status != ExecutionStatus.COMPLETED:
        state.poll_requested.set()  # The end cancelled the children.
        state.relatives_changed.set()
