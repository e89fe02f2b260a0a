"""The hub: follows the journal once for all clients, and hands out what each of them follows.

There is one loop for the whole process, and none while nobody listens. It reads on when this
process has committed something, and at every poll for the sake of other processes. A client has a
position in the journal; what it misses live it reads there, so that nothing is lost and nothing
comes twice, however slow or broken its connection is.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import ParamSpec, TypeVar

import structlog

from api.streaming.messages import Message, of_deleted, of_event, of_standing
from api.streaming.subscription import Subscription
from database import Database
from database.queries.results import ExecutionSnapshot, SubscriptionFilter
from engine.errors import ExecutionNotFoundError, StorageError
from engine.json_values import JsonValue
from engine.status import has_ended
from offload import run_sized

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

_Index = dict[str | None, set[Subscription]]

PING_INTERVAL_SECONDS = 15.0
"""After that long without a message clients and proxies get a sign of life."""
PAGE = 100
"""Events that are read at once."""
LOG_CHARS_ESTIMATE = 500
"""About the size of a node run in a message, without its payloads."""
SWEEP_INTERVAL_SECONDS = 15.0
"""How often those who are followed are looked at for what no event tells: foreign changes."""


class EventBroadcaster:
    """Tells clients what happens. Used in one event loop, ``publish`` from any thread."""

    def __init__(self, database: Database, poll_interval_seconds: float) -> None:
        self._event_feed = database.event_feed
        self._commit_signal = database.commit_signal
        self._poll_seconds = poll_interval_seconds
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._of_execution: _Index = {}
        self._of_organization: _Index = {}
        self._tail: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended_unheard: set[str] = set()
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether the service stops."""
        return self._closing

    @property
    def followers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions())

    def publish(self, execution_id: str, body: Mapping[str, JsonValue]) -> None:
        """Tells who follows the execution something that stands in no journal."""
        if execution_id not in self._of_execution:
            return

        def hand_out() -> None:
            self._hand_out(Message(execution_id, body), None)

        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(hand_out)

    def close(self) -> None:
        """Ends every stream now; what comes later is refused."""
        self._closing = True
        for subscription in self._subscriptions():
            subscription.close()

    async def position(self) -> int:
        """See ``EventFeed.last_position``."""
        return await self._event_feed.last_position()

    async def resume_at(self, execution_id: str, seq: int) -> int | None:
        """See ``EventFeed.position_after``."""
        return await self._event_feed.position_after(execution_id, seq)

    async def is_all_known(self, execution_ids: frozenset[str], position: int) -> bool:
        """Whether these executions have ended, and nothing came after ``position``."""
        if execution_ids - await self._over(set(execution_ids)):
            return False
        found, _, _ = await self._event_feed.read_after(
            position, SubscriptionFilter(execution_ids), 1
        )
        return not found

    async def follow(
        self, interest: SubscriptionFilter, after: int | None = None
    ) -> AsyncGenerator[Message | None]:
        """What happens, from the position ``after`` on; without one first how things stand.

        Ends after the last message of the executions that were named, and when the hub closes.
        Yields ``None`` after ``PING_INTERVAL_SECONDS`` without a message. Close it to stop early.
        """
        subscription = Subscription(interest)
        left = set(interest.execution_ids or ())
        self._enter(subscription)
        try:
            await self._follow_journal()
            async with aclosing(self._told(subscription, left, after)) as messages:
                async for message in messages:
                    yield message
                    if message is not None and message.ends and message.execution_id in left:
                        left.remove(message.execution_id)
                        self._forget(subscription, self._of_execution, message.execution_id)
        finally:
            self._leave(subscription)

    async def _told(
        self, subscription: Subscription, left: set[str], after: int | None
    ) -> AsyncGenerator[Message | None]:
        """Everything that a client is told, until none of its named executions is ``left``."""
        interest = subscription.interest
        named = interest.execution_ids is not None
        over: set[str] = set()
        unended: set[str] = set()
        if after is None:
            messages, position = await self._as_it_stands(interest)
            for message in messages:
                yield message
        else:
            # Asked first: what ends from now on has its last message in what is read next.
            over = await self._over(left)
            position = after
            subscription.fall_behind()
        while not subscription.closed and (left or not named):
            if subscription.behind:
                subscription.catch_up()
                more = True
                while more:
                    found, position, more = await self._patiently(
                        self._event_feed.read_after, position, interest, PAGE
                    )
                    for event in found:
                        unended.add(event.execution_id)
                        yield of_event(event)
                for message in await self._ends_without_event(left & over & unended):
                    yield message
                left -= over
                continue
            message = await subscription.next(PING_INTERVAL_SECONDS)
            if message is None:
                if not subscription.closed and not subscription.behind:
                    yield None
            elif _is_new(message, position) and (message.execution_id in left or not named):
                position = message.position or position
                yield message

    async def _over(self, execution_ids: set[str]) -> set[str]:
        """Those of these executions of which nothing more can come."""
        if not execution_ids:
            return set()
        statuses = await self._patiently(self._event_feed.statuses, execution_ids)
        return {i for i in execution_ids if i not in statuses or has_ended(statuses[i])}

    async def _as_it_stands(self, interest: SubscriptionFilter) -> tuple[list[Message], int]:
        """How the executions stand, and the position up to which the client then knows all.

        Only the last message has that position, so that who is cut off between two comes again.
        """
        named, gone = interest.execution_ids, list[str]()
        while True:
            try:
                standings, top = await self._patiently(self._event_feed.snapshots, interest)
            except ExecutionNotFoundError:  # deleted since the client asked
                ids = named or frozenset()
                there = await self._patiently(self._event_feed.statuses, ids)
                gone = sorted(ids - there.keys())
                interest = SubscriptionFilter(frozenset(there), interest.organization_id)
            else:
                # Snapshots have up to thousands of node runs, which take a while to encode.
                shown = await run_sized(_size(standings), _messages, standings, top)
                return [*(of_deleted(execution_id) for execution_id in gone), *shown], top

    async def _ends_without_event(self, execution_ids: set[str]) -> list[Message]:
        """The ends of executions that somebody ended who wrote no event."""
        if not execution_ids:
            return []
        messages, _ = await self._as_it_stands(SubscriptionFilter(frozenset(execution_ids)))
        return messages

    async def _patiently(
        self, ask: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """What the database answers, as soon as it can."""
        while True:
            try:
                return await ask(*args, **named)
            except StorageError as error:
                log.warning("database_unavailable", doing="reading events", reason=str(error))
                await asyncio.sleep(self._poll_seconds)

    # Who listens

    def _enter(self, subscription: Subscription) -> None:
        if self._closing:
            subscription.close()
        for index, key in self._places(subscription):
            index.setdefault(key, set()).add(subscription)

    def _leave(self, subscription: Subscription) -> None:
        for index, key in self._places(subscription):
            self._forget(subscription, index, key)
        if self._tail is not None and not self._of_execution and not self._of_organization:
            self._tail.cancel()
            self._tail = None

    def _forget(self, subscription: Subscription, index: _Index, key: str | None) -> None:
        there = index.get(key)
        if there is not None:
            there.discard(subscription)
            if not there:
                del index[key]

    def _places(self, subscription: Subscription) -> list[tuple[_Index, str | None]]:
        interest = subscription.interest
        if interest.execution_ids is None:
            return [(self._of_organization, interest.organization_id)]
        return [(self._of_execution, execution_id) for execution_id in interest.execution_ids]

    def _subscriptions(self) -> set[Subscription]:
        every = (*self._of_execution.values(), *self._of_organization.values())
        return {subscription for some in every for subscription in some}

    # The journal

    async def _follow_journal(self) -> None:
        """Sees to it that the journal is followed from a moment on that is past by now."""
        if self._tail is None or self._tail.done():
            self._started = asyncio.get_running_loop().create_future()
            self._tail = asyncio.create_task(self._follow_on(self._started))
        await asyncio.shield(self._started)

    async def _follow_on(self, started: asyncio.Future[None]) -> None:
        leave = self._commit_signal.connect(self._ring)
        try:
            position = await self._patiently(self._event_feed.last_position)
            started.set_result(None)
            sweep = self._loop.time() + SWEEP_INTERVAL_SECONDS
            while True:
                try:
                    position = await self._hand_out_since(position)
                    if self._loop.time() >= sweep:
                        await self._sweep()
                        sweep = self._loop.time() + SWEEP_INTERVAL_SECONDS
                except StorageError as error:
                    log.warning("database_unavailable", doing="reading events", reason=str(error))
                except Exception:  # the streams of all clients hang on this loop
                    log.exception("event_feed_failed")
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._rung.wait()
        finally:
            leave()
            if not started.done():
                started.cancel()

    def _ring(self) -> None:
        # Rung and not yet heard: what was committed before now is read with the rest.
        if not self._rung.is_set():
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._rung.set)

    async def _hand_out_since(self, position: int) -> int:
        self._rung.clear()
        more = True
        while more:
            found, position, more = await self._event_feed.tail(position, self._is_wanted, PAGE)
            for event in found:
                self._hand_out(of_event(event), event.organization_id)
        return position

    def _is_wanted(self, execution_id: str, organization_id: str | None) -> bool:
        """Whether anybody follows it. Called in another thread."""
        return (
            execution_id in self._of_execution
            or None in self._of_organization
            or organization_id in self._of_organization
        )

    def _hand_out(self, message: Message, organization_id: str | None) -> None:
        for subscription in (
            *self._of_execution.get(message.execution_id, ()),
            *self._of_organization.get(None, ()),
            *(self._of_organization.get(organization_id, ()) if organization_id else ()),
        ):
            subscription.offer(message)

    async def _sweep(self) -> None:
        """Tells of executions that were deleted, or ended by somebody who wrote no event."""
        followed = {i for i in self._of_execution if i is not None}
        if not followed:
            return
        statuses = await self._event_feed.statuses(followed)
        ended = {i for i in followed if i in statuses and has_ended(statuses[i])}
        for execution_id in followed - statuses.keys():
            self._tell(of_deleted(execution_id))
        # Its last message may be on its way; a sweep later it has come, if there is one.
        for execution_id in ended & self._ended_unheard:
            with suppress(ExecutionNotFoundError):  # deleted this moment: the next sweep tells
                found, _ = await self._event_feed.snapshots(
                    SubscriptionFilter(frozenset({execution_id}))
                )
                (message,) = await run_sized(_size(found), _messages, found, None)
                self._tell(message)
        self._ended_unheard = ended

    def _tell(self, message: Message) -> None:
        """Tells those who follow this very execution what stands in no journal."""
        for subscription in self._of_execution.get(message.execution_id, ()):
            subscription.offer(message)


def _size(standings: Sequence[ExecutionSnapshot]) -> int:
    """Return about how many characters the messages of these snapshots have."""
    logs = [log for standing in standings for log in standing.logs]
    payloads = [payload for log in logs for payload in (log.input_data, log.output_data)]
    texts = sum(len(payload.text) for payload in payloads if payload is not None)
    return texts + LOG_CHARS_ESTIMATE * (len(logs) + len(standings))


def _messages(standings: Sequence[ExecutionSnapshot], position: int | None) -> list[Message]:
    """Return the messages of snapshots, with their texts; the last one has the position."""
    messages = [of_standing(standing, None) for standing in standings[:-1]]
    messages += [of_standing(standing, position) for standing in standings[-1:]]
    for message in messages:
        _ = message.text  # is encoded now, in this thread
    return messages


def _is_new(message: Message, position: int) -> bool:
    """Whether it is told to a client that knows everything up to ``position``."""
    return message.position is None or message.position > position
