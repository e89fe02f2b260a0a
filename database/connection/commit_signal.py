"""Commit signal: notifies subscribers in this process of committed changes, from any thread.

On PostgreSQL, each transaction also notifies the other processes of its changes; see
``process_notifications``.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, text

CHANGES = "orchestrator_changes"
"""Key of a connection's ``info`` with the ``TransactionChanges`` of the current transaction."""


class Change(StrEnum):
    """A kind of change that other parts of the service wait for. The values are single letters."""

    EVENTS = "e"
    """Events were appended."""
    QUEUE = "q"
    """An execution became claimable."""
    REQUESTS = "r"
    """A cancellation or a resumption of a running execution was stored."""
    SLOTS = "s"
    """A running execution ended, so that a limit may allow another one."""
    PERMITS = "p"
    """A permit was returned."""
    DISPATCHES = "d"
    """A flow run was submitted to the work pool."""


EVERY_CHANGE = frozenset(Change)

CHANNEL = "'orchestrator_' || md5(coalesce(current_schema(), ''))"
"""SQL expression for the channel of PostgreSQL's notifications: one for each schema, because each
schema may contain the tables of another service."""
_NOTIFY = text(f"SELECT pg_notify({CHANNEL}, :payload)")
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_LOCK_AND_NOTIFY = text(f"SELECT pg_advisory_xact_lock(:key), pg_notify({CHANNEL}, :payload)")


@dataclass(slots=True)
class TransactionChanges:
    """The changes of one transaction. PostgreSQL delivers a notification when it commits."""

    sender: str = ""
    """The id of the commit signal of this process, which ignores its own notifications."""
    noted: set[Change] = field(default_factory=set[Change])
    _sent: set[Change] = field(default_factory=set[Change])
    _is_ordered: bool = False

    def lock_order(self, connection: Connection, key: int) -> None:
        """Take the advisory lock ``key`` and send the notification, in one statement.

        The lock lasts until the end of the transaction, or of the savepoint in which it was taken.
        """
        if self._is_ordered:
            return
        self._is_ordered = not connection.in_nested_transaction()
        payload = self._take_payload()
        if payload is None:
            connection.execute(_LOCK, {"key": key})
        else:
            connection.execute(_LOCK_AND_NOTIFY, {"key": key, "payload": payload})

    def notify(self, connection: Connection) -> None:
        """Send a notification of the changes that ``lock_order`` has not sent."""
        payload = self._take_payload()
        if payload is not None:
            connection.execute(_NOTIFY, {"payload": payload})

    def _take_payload(self) -> str | None:
        unsent = self.noted - self._sent
        self._sent |= unsent
        return f"{self.sender}:{''.join(sorted(unsent))}" if unsent else None


def changes_of(connection: Connection) -> TransactionChanges:
    """Return the changes of the current transaction of a connection."""
    return connection.info.setdefault(CHANGES, TransactionChanges())


def note_change(connection: Connection, change: Change) -> None:
    """Let the commit of the current transaction signal a change.

    Call it before the events of the change are appended, so that both need one statement.
    """
    changes_of(connection).noted.add(change)


def note_changed_run(connection: Connection, row: "Row[Any] | None") -> None:
    """Signal a change for an execution whose ``owner`` is in ``row``, or that has no owner."""
    is_owned = row is not None and bool(row[0])
    note_change(connection, Change.REQUESTS if is_owned else Change.QUEUE)


class CommitSignal:
    """Signal that is sent after each commit with changes."""

    def __init__(self) -> None:
        self.id = uuid4().hex
        self.includes_other_processes = False
        """Whether commits of other processes are signalled too, so that frequent polls are not
        necessary."""
        self._listeners: tuple[Callable[[Set[Change]], object], ...] = ()

    def send(self, changes: Set[Change]) -> None:
        """Call every listener, in the thread that committed, unless ``changes`` is empty."""
        if changes:
            for listener in self._listeners:
                listener(changes)

    def connect(self, listener: Callable[[Set[Change]], object]) -> Callable[[], None]:
        """Register ``listener``, which must return at once and never raise.

        Returns:
            A function that removes it.
        """
        self._listeners = (*self._listeners, listener)

        def disconnect() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return disconnect
