"""Executor context: the services that an executor uses, apart from Prefect."""

import asyncio
from dataclasses import dataclass, field

from database import Clock
from database.executions.journal import Journal
from database.records import Lease
from engine.limits import RunLimits
from flows.execution.protocol import NodeExecutor
from flows.execution.signals import ExecutionSignals
from flows.nodes.progress import Publish


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """The services and limits of one execution."""

    lease: Lease
    journal: Journal
    runner: NodeExecutor
    signals: ExecutionSignals
    clock: Clock
    publish: Publish
    limits: RunLimits
    deferral_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Shared by the executions of an event loop; see ``DeferredSteps``."""
