"""Worker state: the settings of the worker, and the executions that one event loop runs."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from database import Database
from engine.limits import (
    NO_EXECUTION_LIMITS,
    NO_NODE_LIMITS,
    DocumentLimits,
    ExecutionLimits,
    NodeLimits,
    RunLimits,
)
from flows.callbacks.dispatcher import CallbackSettings
from flows.execution.signals import ExecutionSignals
from flows.nodes.permits import PermitWaits
from flows.schedules.scheduler import SchedulerSettings
from tasks.context import HandlerSettings


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of the worker; the composition root fills them in."""

    max_concurrent_executions: int
    max_recovery_attempts: int
    max_subworkflow_depth: int
    max_subworkflow_executions: int
    document_limits: DocumentLimits
    run_limits: RunLimits
    execution_timeout_seconds: float | None
    lease_seconds: float
    poll_interval_seconds: float
    retention_days: float | None
    retention_count: int | None
    prefect_api_url: str | None
    prefect_home: Path
    handler_settings: HandlerSettings
    callbacks: CallbackSettings
    scheduler: SchedulerSettings
    database_notifications: bool
    """Whether commits of other services wake this one, on PostgreSQL."""
    execution_limits: ExecutionLimits = NO_EXECUTION_LIMITS
    node_limits: NodeLimits = NO_NODE_LIMITS
    prefect_work_pool: str | None = None
    """Work pool to which executions are submitted; ``None`` if this process runs them itself."""


def set_execution_limits(database: Database, settings: WorkerSettings) -> None:
    """Let the claims of a worker respect the limits of its settings."""
    database.queue.limits = database.dispatches.limits = settings.execution_limits


@dataclass(slots=True)
class WorkerState:
    """State of one event loop. A loop that replaces a crashed one starts with a new state.

    Recovery continues the executions of a crashed loop when their leases expire, like those of any
    owner that crashed.
    """

    owner: str = field(default_factory=lambda: str(uuid4()))
    active: dict[str, ExecutionSignals] = field(default_factory=dict[str, ExecutionSignals])
    """The executions that this worker runs, by id."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    """The tasks of these executions."""
    claim_requested: asyncio.Event = field(default_factory=asyncio.Event)
    poll_requested: asyncio.Event = field(default_factory=asyncio.Event)
    execution_ended: asyncio.Event = field(default_factory=asyncio.Event)
    relatives_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when executions that may run in other processes of the service must be notified."""
    claims_ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after the last claim of a worker that stops."""
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    deferral_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the execution that has deferred steps; see ``DeferredSteps``."""
    permit_waits: PermitWaits = field(default_factory=PermitWaits)
    pool_polling: asyncio.Task[None] | None = None
    """The task that polls a work pool, in a worker of the pool."""

    def on_children_changed(self) -> None:
        """Claim and poll now, because an execution created, cancelled or resumed others."""
        self.request_poll()
        self.relatives_changed.set()

    def request_poll(self) -> None:
        """Claim and poll now."""
        self.claim_requested.set()
        self.poll_requested.set()
