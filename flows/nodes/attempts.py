"""Attempts: the policy and the shared state of the attempts of one task run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from prefect.context import TaskRunContext

from flows.nodes.progress import NodeProgress
from flows.nodes.retry_policy import OnRetry, RetryParkedError
from tasks.context import current_node_run

Prepare: TypeAlias = Callable[[], Awaitable[None]]
"""Loads what an attempt needs; if it raises an exception, the attempt failed."""

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""Maximum pause that a server may request before the next attempt, in seconds, by default."""


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """How often and how long a handler runs."""

    retries: int | None = None
    """Maximum number of retries; ``None`` keeps the retries and delays that the task declares."""
    delays: tuple[float, ...] = ()
    """Delays before the retries, in seconds, at most 50; the last one is repeated."""
    timeout_seconds: float | None = None
    """Timeout of each attempt, in seconds; ``None`` keeps the timeout that the task declares."""


async def _prepare_nothing() -> None:
    pass


@dataclass(slots=True)
class Attempts:
    """State that the attempts and the retry condition, which Prefect calls, share."""

    on_retry: OnRetry
    """If it raises an exception, no attempt follows, and the caller receives the exception."""
    prepare: Prepare = _prepare_nothing
    """Called before each attempt, within its timeout."""
    progress: NodeProgress | None = None
    """Receives the progress of the attempts."""
    failed: int = 0
    """Number of failed attempts of earlier task runs; they count as retries."""
    max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS
    """Maximum pause that a server may request, in seconds."""
    counted: bool = False
    """Whether the task run's ``run_count`` includes ``failed``."""
    retry_error: Exception | None = None
    """The exception of ``on_retry``, kept because Prefect logs and drops it."""
    parked: RetryParkedError | None = None
    """Set if another task run must make the next attempt."""

    def count_earlier(self) -> None:
        """Add the attempts of earlier task runs to the count that handlers and conditions read."""
        context = TaskRunContext.get()
        if context is not None and not self.counted:
            self.counted = True
            context.task_run.run_count += self.failed


def current_attempts() -> Attempts | None:
    """Return the attempts of the current task run."""
    attempts = current_node_run().attempts
    return attempts if isinstance(attempts, Attempts) else None
