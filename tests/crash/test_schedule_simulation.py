"""Many schedules over changes of daylight saving: two schedulers, a clock that jumps, and SIGKILL.

``SCHEDULES`` is the number of schedules, and ``CRASH_ROUNDS`` the number of kills in both changes
together; ``SCHEDULES=10000 CRASH_ROUNDS=20`` takes some minutes.
"""

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert

from database import Database, to_text
from database.tables import workflows
from engine.json_values import encode_json
from flows.schedules.documents import schedule_id_of
from tests.support.conditions import wait_until
from tests.support.cron_oracle import FIXED, HOURLY, expected_instants
from tests.support.postgres import Storage
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.schedules import scheduled
from tests.support.simulated_scheduler import write_text
from tests.support.tables import tables_of
from tests.support.warm_processes import WarmProcess

SCHEDULES = int(os.environ.get("SCHEDULES", "30"))
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "4"))
SECONDS = 60 + SCHEDULES / 10
"""Maximum duration of one step of the clock, on a loaded machine."""
ZONES = ("Europe/Berlin", "Europe/London", "Europe/Athens", "Africa/Cairo", "UTC", "Asia/Kolkata")
CHANGES = (datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2027, 3, 28, 1, tzinfo=UTC))
"""The changes of the European Union; those of Cairo are on other days."""
CASES = [("sqlite", CHANGES[0]), ("postgresql", CHANGES[1])]
if "SCHEDULES" in os.environ:
    CASES += [("sqlite", CHANGES[1]), ("postgresql", CHANGES[0])]
BEFORE, AFTER = timedelta(hours=3), timedelta(hours=4)

Expressions = dict[str, tuple[str, ZoneInfo]]
T = TypeVar("T")


class Schedulers:
    """Two processes that run the scheduler on one database, with one clock."""

    def __init__(self, directory: Path, url: str) -> None:
        self._url, self._directory = url, directory
        self._clock = directory / "clock"
        self._idle = (directory / "idle-0", directory / "idle-1")
        self._processes: dict[int, WarmProcess] = {}

    def start(self, number: int) -> None:
        """Start the process with this number, 0 or 1."""
        files = {"CLOCK_FILE": str(self._clock), "IDLE_FILE": str(self._idle[number])}
        environment = {**os.environ, "DATABASE_URL": self._url, **files}
        self._processes[number] = WarmProcess(
            environment, self._directory / "log", "tests.support.simulated_scheduler"
        )

    def kill(self, *numbers: int) -> None:
        """Send SIGKILL to these processes."""
        for number in numbers:
            self._processes[number].kill()
        for number in numbers:
            self._processes[number].wait(SECONDS)

    def set_clock(self, now: datetime) -> None:
        """Set the clock of both processes."""
        write_text(self._clock, now.isoformat())

    def wait_idle(self) -> None:
        """Wait until both processes have started everything that is due."""
        now = self._clock.read_text()

        def are_idle() -> bool:
            assert all(process.poll() is None for process in self._processes.values()), (
                self._directory / "log"
            ).read_text()[-2_000:]
            return all(file.exists() and file.read_text() == now for file in self._idle)

        wait_until(are_idle, SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self._processes)


def positions(chance: random.Random, since: datetime, until: datetime) -> list[datetime]:
    """Return the times of a clock that jumps up to three hours ahead, and now and then back."""
    found = [since]
    while max(found) < until:
        is_back = chance.random() < 0.2
        ahead = chance.choice((1_800, 3_600, 10_800))
        jump = chance.uniform(-7_200, -120) if is_back else chance.uniform(60, ahead)
        found.append(max(found[-1] + timedelta(seconds=jump), since))
    return found


async def with_database(url: str, use: Callable[[Database], Awaitable[T]]) -> T:
    """Return the result of ``use``, which gets an open database."""
    database = Database(url)
    try:
        return await use(database)
    finally:
        await database.close()


async def save_many(database: Database, chance: random.Random) -> Expressions:
    """Save the workflows; return the expressions and the zones of their schedules."""
    found: Expressions = {}
    rows: list[dict[str, str]] = []
    for n in range(SCHEDULES):
        expression = chance.choice(HOURLY if n % 10 == 0 else FIXED)
        zone = chance.choice(ZONES)
        document = scheduled(
            scheduleCron=expression,
            scheduleTimezone=zone,
            scheduleOverlap="allow",
            scheduleMisfire="all",
        )
        rows.append({"id": f"w{n}", "name": "W", "data": encode_json(document)})
        found[schedule_id_of(f"w{n}", "clock")] = (expression, ZoneInfo(zone))
    await database._access.writer.run(lambda c: c.execute(insert(workflows), rows))
    return found


@pytest.mark.timeout(120 + SCHEDULES // 4)
@pytest.mark.parametrize(("storage", "change"), CASES, indirect=["storage"])
def test_no_instant_is_missed_and_none_starts_twice(
    tmp_path: Path, storage: Storage, change: datetime
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {SCHEDULES} schedules, {ROUNDS // 2} kills")  # shown if the test fails
    chance = random.Random(seed)
    path = tmp_path / "database.sqlite"
    url = str(storage.get("database_url", f"sqlite+aiosqlite:///{path}"))
    if not storage:
        copy_prepared_sqlite(path)
    since = change - BEFORE
    expressions = asyncio.run(with_database(url, lambda database: save_many(database, chance)))
    clock = positions(chance, since, change + AFTER)
    kills = set(chance.sample(range(1, len(clock)), min(ROUNDS // 2, len(clock) - 1)))
    with Schedulers(tmp_path, url) as schedulers:
        schedulers.set_clock(since)
        schedulers.start(0)
        schedulers.start(1)
        schedulers.wait_idle()
        longest = 0.02
        for step, now in enumerate(clock):
            began = time.monotonic()
            schedulers.set_clock(now)
            if step in kills:
                time.sleep(chance.uniform(0.0, longest))  # the time of the kill is random
                killed = chance.choice([(0,), (1,), (0, 1)])
                schedulers.kill(*killed)
                for number in killed:
                    schedulers.start(number)
            schedulers.wait_idle()
            longest = max(longest, time.monotonic() - began)
    found = started(url)
    expected = {
        schedule_id: [
            to_text(instant)
            for instant in expected_instants(expression, zone, since, max(clock))
            if instant > since
        ]
        for schedule_id, (expression, zone) in expressions.items()
    }
    assert {key: found[key] for key in expected} == expected
    total = sum(map(len, expected.values()))
    print(f"{total} executions, {len(clock)} positions of the clock")
    assert total >= SCHEDULES / 10
    check = lambda database: database.find_violations(service_runs=False)  # noqa: E731
    assert asyncio.run(with_database(url, check)) == []


def started(url: str) -> dict[str, list[str]]:
    """Return the instants by schedule; each of them has one execution."""
    rows = tables_of(url).rows(
        'SELECT s."scheduleId", s.instant, e.inputs FROM orchestrator_schedule_runs s'
        ' JOIN workflow_executions e ON e.id = s."executionId" ORDER BY s.instant'
    )
    (count,) = tables_of(url).rows("SELECT count(*) FROM workflow_executions")
    assert count[0] == len(rows)
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        assert row[1] in row[2]  # the payload has the instant
        found[row[0]].append(row[1])
    return found
