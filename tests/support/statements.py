"""Statements: records every SQL statement of this process, with the time of an event loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, and the time at which it was sent."""

    at: float
    sql: str

    @property
    def writes(self) -> bool:
        """Whether the statement changes rows, or takes SQLite's write lock."""
        return self.sql.split()[0].upper() not in ("BEGIN", "SELECT", "PRAGMA", "WITH") or (
            "IMMEDIATE" in self.sql
        )


@contextmanager
def recorded_statements(
    clock: Callable[[], float] = lambda: 0.0, on_record: Callable[[Statement], Any] | None = None
) -> Iterator[list[Statement]]:
    """Yield the list of statements; it grows while the block runs."""
    found: list[Statement] = []

    def record(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        statement = Statement(clock(), sql)
        found.append(statement)
        if on_record is not None:
            on_record(statement)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", record)
