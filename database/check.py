"""``./start.sh --check``: are the invariants of a database held?"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url

from database import Database
from database.connection import is_sqlite
from engine.errors import StorageError

HELD, BROKEN, NOT_CHECKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found; ``exit_code`` is ``HELD``, ``BROKEN`` or ``NOT_CHECKED``."""

    exit_code: int
    lines: list[str] = field(default_factory=list[str])


def check_database(url: str) -> Report:
    """Looks at the whole database in one consistent read, beside a running service or without one.

    It creates and changes nothing. Leases that ran out are no fault here: nobody may be running.
    """
    if is_sqlite(url) and not Path(make_url(url).database or "").is_file():
        return Report(NOT_CHECKED, [f"There is no database at {make_url(url).database}"])
    try:
        return asyncio.run(_check(url))
    except (StorageError, OSError) as error:
        return Report(NOT_CHECKED, [f"Cannot check {_shown(url)}: {error}"])


async def _check(url: str) -> Report:
    database = Database(url)
    try:
        if not await database.is_prepared():
            return Report(NOT_CHECKED, [f"No service has ever used {_shown(url)}"])
        violations = await database.find_violations(service_runs=False)
    finally:
        await database.close()
    if violations:
        return Report(BROKEN, [str(violation) for violation in violations])
    return Report(HELD, [f"OK: every invariant holds in {_shown(url)}"])


def _shown(url: str) -> str:
    parsed = make_url(url)
    return (parsed.database or url) if is_sqlite(url) else parsed.render_as_string()
