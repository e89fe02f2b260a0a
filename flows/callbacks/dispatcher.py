"""Telling whoever asked how an execution ended, until it is heard or a day has passed.

``database/executions/callbacks.py`` stores the callbacks; this module selects the next receiver.
A receiver that does not answer costs a slot for as long as the time limit, so slots are
shared out by host: no host has all of them, and those that were slow the last time share half of
them, one each.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

import structlog

from database import Database
from database.executions.callbacks import AttemptFailure, CallbackAttempt
from engine.errors import ExecutionNotFoundError, LeaseLostError, StorageError
from flows.callbacks.request import MAX_OUTPUT_CHARS, CallbackResponse, body_of, headers_of, send
from flows.storage_retry import retry_while_unavailable
from tasks.context import HandlerSettings

log = structlog.get_logger()

T = TypeVar("T")

SLOTS = 8
"""How many receivers are called at once."""
SLOTS_OF_A_HOST = 4
SLOTS_OF_THE_SLOW = 4
"""All slow hosts together, so that there is always room for the others."""
SLOW_PART = 0.25
"""A host is slow when it took longer than this part of the time limit the last time."""
SLOW_REMEMBERED = 1_000
MAX_CALLBACK_BACKOFF_SECONDS = 3_600.0
JITTER = 0.25
"""Up to so much is added to a delay, so that what failed together is not tried together again."""
IDLE_POLL_SECONDS = 0.05
"""Between two looks that found nothing: most executions that end have nobody to be told."""
SHUTDOWN_TIMEOUT_SECONDS = 1.0
"""How long callbacks on their way have when the service stops."""


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """How callbacks are sent; the composition root fills it in."""

    secret: str | None = field(default=None, repr=False)
    """A Standard Webhooks secret; without it they are not signed."""
    timeout_seconds: float = 10.0
    first_delay_seconds: float = 5.0
    calls: HandlerSettings = field(default_factory=HandlerSettings)
    """Where calls may go."""


async def dispatch_callbacks_forever(
    database: Database,
    settings: CallbackSettings,
    news: asyncio.Event,
    lease_seconds: float,
    poll_seconds: float,
) -> None:
    """Sends what is due for as long as the service runs; looks at once when ``news`` is set."""
    post = _CallbackDispatcher(database, settings, news, settings.timeout_seconds + lease_seconds)
    try:
        while True:
            news.clear()
            try:
                found = await post.send_what_is_due()
            except StorageError as error:
                log.warning(
                    "database_unavailable", operation="callback_dispatch", reason=str(error)
                )
                found = False
            except Exception:
                log.exception("callback_dispatch_failed")
                found = False
            if not found:
                await asyncio.sleep(IDLE_POLL_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_seconds):
                    await news.wait()
    finally:
        await post.leave()


def choose(
    due: Mapping[str, int], busy: Mapping[str, int], slow: Collection[str], turns: Mapping[str, int]
) -> list[str]:
    """The hosts to call now, one entry a slot: turn about, the one served longest ago first.

    ``due`` counts what waits for each host and ``busy`` what is on its way to it; ``turns`` says
    when each was served last, in any growing number.
    """
    taken = Counter(busy)
    chosen: list[str] = []
    order = sorted(due, key=lambda host: turns.get(host, 0))
    for turn in range(SLOTS_OF_A_HOST):
        for host in order:
            slow_ones = sum(count for other, count in taken.items() if other in slow)
            may = (
                due[host] > turn
                and taken.total() < SLOTS
                and taken[host] < (1 if host in slow else SLOTS_OF_A_HOST)
                and (host not in slow or slow_ones < SLOTS_OF_THE_SLOW)
            )
            if may:
                taken[host] += 1
                chosen.append(host)
    return chosen


def delay_after(attempt: int, first_delay_seconds: float, retry_after: float | None) -> float:
    """Seconds before the attempt after ``attempt``: doubled each time, up to an hour, with jitter.

    ``retry_after`` of the receiver makes it longer, not shorter, and not longer than that hour.
    """
    doubled = first_delay_seconds * 2.0 ** min(attempt - 1, 30)
    wanted = min(MAX_CALLBACK_BACKOFF_SECONDS, max(doubled, retry_after or 0.0))
    return wanted * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - spreads calls, hides nothing


class _CallbackDispatcher:
    """The slots, and what is known of the hosts."""

    def __init__(
        self,
        database: Database,
        settings: CallbackSettings,
        news: asyncio.Event,
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._callbacks = database.callbacks
        self._settings = settings
        self._news = news
        self._lease_seconds = lease_seconds
        self._owner = str(uuid4())
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._slow: dict[str, None] = {}  # in the order in which they became so
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._leaving = False

    async def send_what_is_due(self) -> bool:
        """Fills free slots with what is due; whether there was anything."""
        if len(self._under_way) >= SLOTS:
            return False
        due = await self._callbacks.due_by_host()
        busy = Counter(self._under_way.values())
        self._turns = {host: turn for host, turn in self._turns.items() if host in due | busy}
        chosen = choose(due, busy, self._slow, self._turns)
        for host in chosen:
            self._turn += 1
            self._turns[host] = self._turn
            task = asyncio.create_task(self._serve(host))
            self._under_way[task] = host
            task.add_done_callback(self._done)
        return bool(chosen)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()  # a slot is free

    async def leave(self) -> None:
        """Gives what is under way a moment, and puts the rest back."""
        self._leaving = True
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=SHUTDOWN_TIMEOUT_SECONDS)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, host: str) -> None:
        """One callback of ``host``, if there still is one."""
        try:
            delivery = await self._callbacks.claim(self._owner, host, self._lease_seconds)
            if delivery is None:
                return
            with structlog.contextvars.bound_contextvars(execution_id=delivery.execution_id):
                try:
                    await self._deliver(delivery, host)
                except ExecutionNotFoundError:  # deleted meanwhile: nobody is to be told any more
                    await self._callbacks.drop(delivery)
                    log.info("callback_dropped", host=host)
        except LeaseLostError:
            log.warning("callback_lease_lost", host=host)
        except StorageError as error:
            # Its lease runs out by itself; whoever claims it then sends it again.
            log.warning("database_unavailable", operation="callback_dispatch", reason=str(error))
        except Exception:
            log.exception("callback_dispatch_failed")

    async def _deliver(self, delivery: CallbackAttempt, host: str) -> None:
        began = time.monotonic()
        try:
            answer = await self._attempt(delivery)
        except asyncio.CancelledError:
            stopped = AttemptFailure("the service stopped before the answer came")
            await self._callbacks.record_failure(delivery, stopped, 0)
            raise
        self._remember(host, time.monotonic() - began)
        said = {"host": host, "attempt": delivery.attempt, "status": answer.status}
        if answer.failure is None:
            status = answer.status or 0
            await self._record(lambda: self._callbacks.record_delivery(delivery, status))
            log.info("callback_delivered", **said)
            return
        failure, first = answer.failure, self._settings.first_delay_seconds
        delay = delay_after(delivery.attempt, first, answer.retry_after)
        due = await self._record(lambda: self._callbacks.record_failure(delivery, failure, delay))
        event = "callback_abandoned" if due is None else "callback_failed"
        log.warning(event, **said, reason=failure.error, next_attempt_at=due)

    async def _attempt(self, delivery: CallbackAttempt) -> CallbackResponse:
        execution = await self._database.queries.execution(delivery.execution_id, MAX_OUTPUT_CHARS)
        now = self._database.clock()
        body = body_of(execution, delivery.workflow_name)
        headers = headers_of(delivery, body, self._settings.secret, now)
        seconds, calls = self._settings.timeout_seconds, self._settings.calls
        return await send(delivery.url, body, headers, seconds, now, calls)

    async def _record(self, write: Callable[[], Awaitable[T]]) -> T:
        return await retry_while_unavailable(write, "callback_recording", lambda: self._leaving)

    def _remember(self, host: str, seconds: float) -> None:
        self._slow.pop(host, None)
        if seconds > self._settings.timeout_seconds * SLOW_PART:
            self._slow[host] = None
            if len(self._slow) > SLOW_REMEMBERED:
                del self._slow[next(iter(self._slow))]
