"""Database work: counts the rows that the databases read for the statements of this process."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Engine, event

INSTRUCTIONS_PER_CALL = 10
"""Number of instructions of SQLite's virtual machine between two calls of the counter."""
MAX_RATIO = 1.3
TOLERANCE = 100
"""Additional rows or instructions that a deeper index may need."""
_READ = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")


@dataclass(slots=True)
class Work:
    """SQLite: instructions of its virtual machine. PostgreSQL: rows of all steps of the plans."""

    amount: int = 0

    def count_instructions(self) -> int:
        """Count a call of SQLite's progress handler; return 0, so that the statement continues."""
        self.amount += INSTRUCTIONS_PER_CALL
        return 0

    def count_plan(self, plan: dict[str, Any]) -> None:
        """Count the rows that a step of a plan and the steps below it have read."""
        self.amount += round(sum(plan.get(name, 0) for name in _READ) * plan["Actual Loops"])
        for step in plan.get("Plans", ()):
            self.count_plan(step)


def growth(few: Mapping[str, int], many: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return the operations whose work grows with the number of rows: with few and with many."""
    return {
        name: (work, many[name])
        for name, work in few.items()
        if many[name] > work * MAX_RATIO + TOLERANCE
    }


@contextmanager
def counted_work() -> Iterator[Work]:
    """Count during the block. On PostgreSQL, each statement runs twice: once to count its rows."""
    work = Work()

    def count(
        connection: Connection, _: object, sql: str, values: Any, __: object, executemany: Any
    ) -> None:
        raw = connection.connection
        if isinstance(raw.driver_connection, sqlite3.Connection):
            handler = work.count_instructions
            raw.driver_connection.set_progress_handler(handler, INSTRUCTIONS_PER_CALL)
            return
        if sql.split(maxsplit=1)[0] not in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
            return
        cursor = raw.cursor()
        writes = not cast("Any", raw).autocommit  # a query without a transaction only reads
        if writes:
            cursor.execute("SAVEPOINT counted_work")
        for row in values if executemany else [values]:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", row)
            plan = cursor.fetchall()[0][0]
            work.count_plan((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
        if writes:
            cursor.execute("ROLLBACK TO counted_work")
        cursor.close()

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield work
    finally:
        event.remove(Engine, "before_cursor_execute", count)
