"""Callback dispatcher: delivers results and reminders to the URL that the caller gave.

``database/executions/callbacks.py`` stores the callbacks; this module selects the next receiver. An
unresponsive receiver occupies a request until the timeout. Therefore the requests per host are
limited, so that the callbacks to other hosts are not delayed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

import structlog

from database import Database
from database.executions.callbacks import AttemptFailure, CallbackAttempt
from engine.errors import ExecutionNotFoundError, LeaseLostError, StorageError
from flows.callbacks.request import MAX_OUTPUT_CHARS, body_of, callback_span, headers_of, send
from flows.storage_retry import retry_while_unavailable
from metrics import UNOBSERVED, Metrics
from tasks.context import HandlerSettings

log = structlog.get_logger()

T = TypeVar("T")

MAX_CONCURRENT_CALLBACKS = 16
"""Maximum number of requests at the same time."""

MAX_CONCURRENT_CALLBACKS_PER_HOST = 2
"""Maximum number of requests to one host at the same time."""

MAX_CALLBACK_BACKOFF_SECONDS = 3_600.0
"""Maximum delay between two attempts, without jitter, in seconds."""

JITTER = 0.25
"""Maximum share that is added to a delay, so that callbacks that failed together are spread."""

IDLE_POLL_SECONDS = 0.05
"""Pause after a poll that found nothing, in seconds, because most executions have no callback."""

SHUTDOWN_TIMEOUT_SECONDS = 1.0
"""Timeout for running requests when the service stops."""


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """Settings of callbacks; the composition root fills them in."""

    secret: str | None = field(default=None, repr=False)
    """A Standard Webhooks secret; without it, requests are not signed."""
    timeout_seconds: float = 10.0
    first_delay_seconds: float = 5.0
    calls: HandlerSettings = field(default_factory=HandlerSettings)
    """Settings of the HTTP client, such as the allowed hosts."""


async def dispatch_callbacks_forever(
    database: Database,
    settings: CallbackSettings,
    execution_ended: asyncio.Event,
    lease_seconds: float,
    poll_seconds: float,
    metrics: Metrics = UNOBSERVED,
) -> None:
    """Send due callbacks, at every interval and when ``execution_ended`` is set."""
    lease_seconds += settings.timeout_seconds
    dispatcher = _CallbackDispatcher(database, settings, execution_ended, lease_seconds, metrics)
    try:
        while True:
            execution_ended.clear()
            started = False
            try:
                started = await dispatcher.start_due()
            except StorageError as error:
                reason = str(error)
                log.warning("database_unavailable", operation="callback_dispatch", reason=reason)
            except Exception:
                log.exception("callback_dispatch_failed")
            if not started:
                await asyncio.sleep(IDLE_POLL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_seconds):
                    await execution_ended.wait()
    finally:
        await dispatcher.shutdown()


def delay_after(attempt: int, first_delay_seconds: float, retry_after: float | None) -> float:
    """Return the delay after ``attempt``, in seconds: it doubles up to an hour, with jitter.

    ``retry_after`` of the receiver can make it longer, up to that hour, but not shorter.
    """
    doubled = first_delay_seconds * 2.0 ** min(attempt - 1, 30)
    delay = min(MAX_CALLBACK_BACKOFF_SECONDS, max(doubled, retry_after or 0.0))
    return delay * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - needs no secure randomness


class _CallbackDispatcher:
    """The running requests, by host."""

    def __init__(
        self,
        database: Database,
        settings: CallbackSettings,
        request_ended: asyncio.Event,
        lease_seconds: float,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._callbacks = database.callbacks
        self._settings = settings
        self._request_ended = request_ended
        self._lease_seconds = lease_seconds
        self._owner = str(uuid4())
        self._hosts: dict[asyncio.Task[None], str] = {}
        self._stopping = False

    async def start_due(self) -> bool:
        """Start requests for due callbacks, up to the limits; return whether one was started."""
        if len(self._hosts) >= MAX_CONCURRENT_CALLBACKS:
            return False
        started = False
        for host, due in (await self._callbacks.due_by_host()).items():
            running = sum(other == host for other in self._hosts.values())
            free = min(
                MAX_CONCURRENT_CALLBACKS_PER_HOST - running,
                MAX_CONCURRENT_CALLBACKS - len(self._hosts),
            )
            for _ in range(min(due, free)):
                task = asyncio.create_task(self._send_next(host))
                self._hosts[task] = host
                task.add_done_callback(self._on_ended)
                started = True
        return started

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        del self._hosts[task]
        self._request_ended.set()

    async def shutdown(self) -> None:
        """Wait for running requests until the timeout; cancel the others."""
        self._stopping = True
        if self._hosts:
            await asyncio.wait(list(self._hosts), timeout=SHUTDOWN_TIMEOUT_SECONDS)
        unfinished = list(self._hosts)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _send_next(self, host: str) -> None:
        """Send the oldest due callback of ``host``, unless another service has claimed it."""
        try:
            delivery = await self._callbacks.claim(self._owner, host, self._lease_seconds)
            if delivery is None:
                return
            with structlog.contextvars.bound_contextvars(execution_id=delivery.execution_id):
                try:
                    await self._deliver(delivery, host)
                except ExecutionNotFoundError:  # deleted after the claim
                    await self._callbacks.drop(delivery)
                    log.info("callback_dropped", host=host)
        except LeaseLostError:
            log.warning("callback_lease_lost", host=host)
        except StorageError as error:
            # The callback is claimed and sent again when its lease expires.
            log.warning("database_unavailable", operation="callback_dispatch", reason=str(error))
        except Exception:
            log.exception("callback_dispatch_failed")

    async def _deliver(self, delivery: CallbackAttempt, host: str) -> None:
        fields = {"host": host, "attempt": delivery.attempt}
        try:
            result = await self._attempt(delivery, host)
        except asyncio.CancelledError:
            stopped = AttemptFailure("the service stopped before the response arrived")
            await self._callbacks.record_failure(delivery, stopped, 0)
            raise
        if isinstance(result, int):
            await self._record(lambda: self._callbacks.record_delivery(delivery, result))
            log.info("callback_delivered", **fields, status=result)
            self._metrics.callback_attempted("delivered")
            return
        first = self._settings.first_delay_seconds
        delay = delay_after(delivery.attempt, first, result.retry_after)
        due = await self._record(lambda: self._callbacks.record_failure(delivery, result, delay))
        event = "callback_abandoned" if due is None else "callback_failed"
        self._metrics.callback_attempted("abandoned" if due is None else "failed")
        reason = result.error
        log.warning(event, **fields, status=result.status, reason=reason, next_attempt_at=due)

    async def _attempt(self, delivery: CallbackAttempt, host: str) -> int | AttemptFailure:
        execution = await self._database.queries.execution(delivery.execution_id, MAX_OUTPUT_CHARS)
        now = self._database.clock()
        body = delivery.body or body_of(execution, delivery.workflow_name)
        headers = headers_of(delivery, body, self._settings.secret, now)
        seconds, calls = self._settings.timeout_seconds, self._settings.calls
        span = callback_span(delivery, host, execution)
        headers |= span.headers
        error: str | None = "the service stopped"
        status: int | None = None
        try:
            result = await send(delivery.url, body, headers, seconds, now, calls)
            error, status = (
                (None, result) if isinstance(result, int) else (result.error, result.status)
            )
        finally:
            span.end(error, status)
        return result

    async def _record(self, write: Callable[[], Awaitable[T]]) -> T:
        return await retry_while_unavailable(write, "callback_recording", lambda: self._stopping)
