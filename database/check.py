"""Database check: verifies the invariants of a database for ``./start.sh --check``."""

import asyncio
from dataclasses import dataclass, field

from database import Database
from database.connection.urls import read_address
from engine.errors import StorageError

PASSED, BROKEN, NOT_CHECKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a check; ``exit_code`` is ``PASSED``, ``BROKEN`` or ``NOT_CHECKED``."""

    exit_code: int
    lines: list[str] = field(default_factory=list[str])


def check_database(url: str) -> Report:
    """Check the whole database in one consistent read, while a service runs or without one.

    The check changes nothing. It accepts expired leases, because no service needs to be running.
    """
    try:
        address = read_address(url)
    except StorageError as error:
        return Report(NOT_CHECKED, [f"Cannot check DATABASE_URL: {error}"])
    try:
        if address.file is not None and not address.file.is_file():
            return Report(NOT_CHECKED, [f"The database {address.file} does not exist"])
        return asyncio.run(_check(url, address.shown))
    except (StorageError, OSError) as error:
        return Report(NOT_CHECKED, [f"Cannot check {address.shown}: {error}"])


async def _check(url: str, shown: str) -> Report:
    database = Database(url)
    try:
        if not await database.is_prepared():
            return Report(NOT_CHECKED, [f"No service has ever used {shown}"])
        violations = await database.find_violations(service_runs=False)
    finally:
        await database.close()
    if violations:
        return Report(BROKEN, [str(violation) for violation in violations])
    return Report(PASSED, [f"OK: every invariant holds in {shown}"])
