"""Node permits: a node run waits until its limits allow it to run, in all services together.

A waiting node run is a task without a thread, and one task of the worker reads for all of them
whether their turn has come. If its execution leaves its slot to another one, the node run ends with
a ``PermitParkedError``, and its request stays in the database.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from database import Database
from database.connection.commit_signal import Change
from database.records import Lease
from engine.errors import StorageError
from engine.limits import NodeLimits
from engine.options import NodeOptions
from flows.storage_retry import retry_while_unavailable

log = structlog.get_logger()

SIGNALLED_POLL_INTERVAL_SECONDS = 15.0
"""Interval between two reads while other processes signal returned permits, in seconds."""
ORPHAN_INTERVAL_SECONDS = 5.0
"""Interval between two searches for requests of dead owners, in seconds."""
IDLE_POLL_INTERVAL_SECONDS = 60.0
"""Interval between two searches without a known request, in seconds: another service may have
parked node runs and died."""


class PermitParkedError(Exception):
    """A node run waits for its permit, and its execution does not keep its slot meanwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A request that waits."""

    execution_id: str
    since: float
    """Time of the event loop at which the wait began, in seconds."""
    granted: asyncio.Future[None]
    """Done when the permits are granted."""


@dataclass(slots=True)
class PermitWaits:
    """The requests of one worker that wait for their turn. Used in one event loop."""

    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    """By request."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a permit was returned, or another request waits."""
    has_turns: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request waits; the task that ends waits for slots clears it."""
    has_parked: bool = True
    """Whether node runs may be parked that wait for a permit; not known before the first search."""

    def of_execution(self, execution_id: str) -> list[Turn]:
        """Return the requests of an execution whose permits are not granted."""
        turns = self.turns.values()
        return [turn for turn in turns if turn.execution_id == execution_id and _waits(turn)]


def _waits(turn: Turn) -> bool:
    return not turn.granted.done()


@dataclass(frozen=True, slots=True)
class NodePermits:
    """The permits of one execution."""

    database: Database
    lease: Lease
    organization: str
    waits: PermitWaits
    limits: NodeLimits
    on_request: Callable[[], object]
    """Called before the first request, because the execution must stop before its lease ends."""
    is_stopping: Callable[[], bool]

    @asynccontextmanager
    async def hold(
        self, node_id: str, node_type: str, options: NodeOptions
    ) -> AsyncGenerator[None]:
        """Run the block while the node run has a permit of each limit that applies to it."""
        key = options.concurrency_key
        capacities = self.limits.capacities(node_type, key, self.organization)
        if not capacities:
            yield
            return
        request = uuid4().hex
        self.on_request()
        keeps_request = False
        try:
            try:
                await self._wait(request, node_id, capacities)
            except PermitParkedError:
                keeps_request = True
                raise
            yield
        finally:
            if not keeps_request:
                await self._release(request)

    def waiting(self) -> int:
        """Return the number of node runs of the execution that wait for their permits."""
        return len(self.waits.of_execution(self.lease.execution_id))

    def park(self) -> None:
        """End the node runs that wait; each raises a ``PermitParkedError``."""
        for turn in self.waits.of_execution(self.lease.execution_id):
            turn.granted.set_exception(PermitParkedError("it waits for a permit"))

    async def _wait(self, request: str, node_id: str, capacities: dict[str, int]) -> None:
        loop = asyncio.get_running_loop()
        granted = await retry_while_unavailable(
            lambda: self.database.permits.request(self.lease, request, node_id, capacities),
            "permit_request",
            self.is_stopping,
        )
        if granted:
            return
        log.info("permit_awaited", node_id=node_id, limits=list(capacities))
        turn = Turn(self.lease.execution_id, loop.time(), loop.create_future())
        self.waits.turns[request] = turn
        self.waits.changed.set()
        self.waits.has_turns.set()
        try:
            await turn.granted
        finally:
            del self.waits.turns[request]

    async def _release(self, request: str) -> None:
        """Return the permits, also if the node run is cancelled again in the meantime."""
        release = asyncio.ensure_future(
            retry_while_unavailable(
                lambda: self.database.permits.release(request), "permit_release", self.is_stopping
            )
        )
        # A request that cannot be returned is deleted later; see ``delete_orphaned``.
        with suppress(StorageError):
            await asyncio.shield(release)


async def grant_permits_forever(
    database: Database, waits: PermitWaits, lease_seconds: float, poll_seconds: float
) -> None:
    """End the waits of granted requests when permits are returned, and at every interval."""
    loop = asyncio.get_running_loop()

    def on_commit(changes: Set[Change]) -> None:  # called in the thread that committed
        if Change.PERMITS in changes:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(waits.changed.set)

    disconnect = database.commit_signal.connect(on_commit)
    next_search = loop.time()
    try:
        while True:
            await _wait_for_change(database, waits, poll_seconds)
            waits.changed.clear()
            try:
                if loop.time() >= next_search:
                    next_search = loop.time() + ORPHAN_INTERVAL_SECONDS
                    await database.permits.delete_orphaned(lease_seconds)
                granted = set[str]()
                if waits.turns:
                    granted = await database.permits.grant(list(waits.turns))
                waits.has_parked = await database.permits.wake()
            except StorageError as error:
                log.warning("database_unavailable", operation="permits", reason=str(error))
                await asyncio.sleep(poll_seconds)
                continue
            for request in granted:
                if (turn := waits.turns.get(request)) is not None and _waits(turn):
                    turn.granted.set_result(None)
    finally:
        disconnect()


async def _wait_for_change(database: Database, waits: PermitWaits, poll_seconds: float) -> None:
    """Wait for a change or a poll. Polls are rare while no request is known."""
    interval = poll_seconds
    if not waits.turns and not waits.has_parked:
        interval = max(interval, IDLE_POLL_INTERVAL_SECONDS)
    elif database.commit_signal.includes_other_processes:
        interval = max(interval, SIGNALLED_POLL_INTERVAL_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(interval):
            await waits.changed.wait()
