"""Process notifications: the signals of commits in other processes, with PostgreSQL's ``LISTEN``.

The tables remain the truth: a notification only says that they have changed. Notifications of a
lost connection are lost too, so that every change is signalled after a new connection was opened,
and the service polls while it has none.
"""

import asyncio
from collections.abc import Callable, Set
from contextlib import suppress
from typing import Any, cast

import structlog
from sqlalchemy import Connection, text

from database.connection.commit_signal import CHANNEL, EVERY_CHANGE, Change, CommitSignal
from database.connection.writer import Writer
from engine.errors import StorageError

log = structlog.get_logger()

APPLICATION_NAME = "workflow-notifications"
"""Name of the connection in ``pg_stat_activity``."""
CONNECT_TIMEOUT_SECONDS = 10.0
"""Timeout for each step of opening the connection, in seconds."""
CHECK_INTERVAL_SECONDS = 15.0
"""Interval between two checks of the connection, in seconds, because a network that drops packets
closes nothing."""
CHECK_TIMEOUT_SECONDS = 5.0
"""Timeout of a check, in seconds."""
MIN_RECONNECT_DELAY_SECONDS = 0.1
MAX_RECONNECT_DELAY_SECONDS = 30.0
"""Maximum pause before the connection is opened again, in seconds; it doubles at each failure."""

_PROBE = "probe-"
_SEND_PROBE = text(f"SELECT pg_notify({CHANNEL}, :payload)")


class NotificationsUnavailableError(Exception):
    """The connection does not receive notifications; a pooler such as PgBouncer drops them."""


class ProcessNotifications:
    """One connection that listens. Used in one event loop."""

    def __init__(self, arguments: dict[str, Any], writer: Writer, signal: CommitSignal) -> None:
        """Create it; ``arguments`` are those of ``asyncpg.connect``."""
        self._arguments = {
            "timeout": CONNECT_TIMEOUT_SECONDS,
            **arguments,
            "server_settings": {"application_name": APPLICATION_NAME},
        }
        self._arguments.pop("prepared_statement_cache_size", None)  # an argument of SQLAlchemy
        self._writer = writer
        self._signal = signal
        self._probed = asyncio.Event()
        self._failures = 0

    async def follow_forever(self, on_changes: Callable[[Set[Change]], object]) -> None:
        """Send the commit signal for commits of other processes, and call ``on_changes`` too.

        Both are also called with every change after the connection was opened or lost.
        """
        import asyncpg  # noqa: PLC0415 - not for SQLite  # pyright: ignore[reportMissingTypeStubs]

        while True:
            try:
                await self._follow(on_changes)
            except (
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                StorageError,
                NotificationsUnavailableError,
            ) as error:
                pause = min(
                    MAX_RECONNECT_DELAY_SECONDS, MIN_RECONNECT_DELAY_SECONDS * 2.0**self._failures
                )
                self._failures = min(self._failures + 1, 30)
                reason = str(error) or type(error).__name__
                log.warning("notifications_unavailable", reason=reason, retry_in=pause)
                await asyncio.sleep(pause)

    async def _follow(self, on_changes: Callable[[Set[Change]], object]) -> None:
        """Receive notifications until the connection is lost, and raise the reason."""
        import asyncpg  # noqa: PLC0415 - not for SQLite  # pyright: ignore[reportMissingTypeStubs]

        lost = asyncio.Event()

        def on_closed(_connection: object) -> None:
            lost.set()

        def signal(changes: Set[Change]) -> None:
            self._signal.send(changes)
            on_changes(changes)

        def receive(_connection: object, _process: int, _channel: str, payload: object) -> None:
            sender, _, kinds = str(payload).partition(":")
            if sender == f"{_PROBE}{self._signal.id}":
                self._probed.set()
            elif sender != self._signal.id and (
                changes := {change for change in Change if change in kinds}
            ):
                signal(changes)

        connection = await cast("Any", asyncpg).connect(**self._arguments)
        try:
            connection.add_termination_listener(on_closed)
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                channel = await connection.fetchval(f"SELECT {CHANNEL}")
                await connection.add_listener(channel, receive)
                await self._probe()
            self._signal.includes_other_processes = True
            self._failures = 0
            signal(EVERY_CHANGE)
            log.info("notifications_connected")
            await self._check_until_lost(connection, lost)
        finally:
            if self._signal.includes_other_processes:
                self._signal.includes_other_processes = False
                signal(EVERY_CHANGE)  # so that every loop polls at its interval again
            with suppress(Exception):
                connection.terminate()

    async def _probe(self) -> None:
        """Check that a notification of another connection arrives.

        Raises:
            NotificationsUnavailableError: If it does not.
        """
        self._probed.clear()

        def send(connection: Connection) -> None:
            connection.execute(_SEND_PROBE, {"payload": f"{_PROBE}{self._signal.id}:"})

        await self._writer.run(send)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await self._probed.wait()
        except TimeoutError:
            raise NotificationsUnavailableError(
                "no notification arrived; set DATABASE_NOTIFICATIONS=false behind a pooler"
            ) from None

    @staticmethod
    async def _check_until_lost(connection: Any, lost: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL_SECONDS):
                    await lost.wait()
                    raise OSError("the connection was closed")
            await connection.execute("SELECT 1", timeout=CHECK_TIMEOUT_SECONDS)
