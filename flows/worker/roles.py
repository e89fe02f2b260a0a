"""Worker roles: the part that the worker of a process has in the execution of workflows."""

from dataclasses import dataclass
from typing import Protocol

from database.executions.queue import Queue
from flows.worker.assigned_runs import PollPool
from flows.worker.state import WorkerState


class Executors(Protocol):
    """The processes that run the executions of a service. Used in the worker's event loop."""

    def request_claims(self) -> None:
        """Let the processes claim executions now."""
        ...

    def request_polls(self) -> None:
        """Let the processes look for cancellations and resumptions now."""
        ...

    async def run_forever(self, queue: Queue, state: WorkerState) -> None:
        """Start the processes, and replace each one that ends, until ``stop``."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Stop the processes; each waits ``grace_seconds`` for its running nodes."""
        ...


class Relay(Protocol):
    """The connection of an execution process to its service. Used in the worker's event loop."""

    async def run_forever(self, state: WorkerState) -> None:
        """Forward the signals of the worker to the service."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerRole:
    """The role of a worker. Without any part, it runs the executions of its service itself."""

    poll_pool: PollPool | None = None
    """Polls a work pool: a worker of the pool."""
    executors: Executors | None = None
    """The processes that run executions: the worker of a service with EXECUTOR_PROCESSES."""
    relay: Relay | None = None
    """The connection to the service: the worker of one of these processes. It sends no callbacks
    and starts no schedules, because its service does."""


WHOLE_SERVICE = WorkerRole()
