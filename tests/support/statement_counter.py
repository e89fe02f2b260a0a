"""Statement counter: counts the transactions and statements of the services in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event

_WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(slots=True)
class Counted:
    """The committed transactions, each as the list of its statements."""

    transactions: list[list[str]] = field(default_factory=list[list[str]])
    _open: dict[int, list[str]] = field(default_factory=dict[int, list[str]])

    @property
    def writing(self) -> list[list[str]]:
        """The transactions that wrote."""
        return [found for found in self.transactions if any(s.startswith(_WRITES) for s in found)]

    def begin(self, connection: Connection) -> None:
        """Start a transaction."""
        self._open[id(connection)] = []

    def execute(self, connection: Connection, *values: Any) -> None:
        """Add a statement to its transaction."""
        self._open.setdefault(id(connection), []).append(values[1].strip())

    def commit(self, connection: Connection) -> None:
        """End a transaction."""
        self.transactions.append(self._open.pop(id(connection), []))


@contextmanager
def counted_statements() -> Iterator[Counted]:
    """Count during the block."""
    counted = Counted()
    listeners = (
        ("begin", counted.begin),
        ("before_cursor_execute", counted.execute),
        ("commit", counted.commit),
    )
    for name, listener in listeners:
        event.listen(Engine, name, listener)
    try:
        yield counted
    finally:
        for name, listener in listeners:
            event.remove(Engine, name, listener)
