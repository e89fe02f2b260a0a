"""Many schedules over changes of daylight saving, with two services and a clock that jumps.

``SCHEDULES`` is the number of schedules; ``SCHEDULES=10000`` takes minutes.
"""

import os
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from database import Database, to_text
from tests.support.cron_oracle import FIXED, HOURLY, expected_instants
from tests.support.fake_clock import MovingClock
from tests.support.schedules import save, scheduled, scheduler_of
from tests.support.two_workers import Workers, both

SCHEDULES = int(os.environ.get("SCHEDULES", "30"))
ZONES = ("Europe/Berlin", "Europe/London", "Europe/Athens", "Africa/Cairo", "UTC", "Asia/Kolkata")
CHANGES = (datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2027, 3, 28, 1, tzinfo=UTC))
"""The changes of the European Union; those of Cairo are on other days."""
BEFORE, AFTER = timedelta(hours=3), timedelta(hours=4)


async def save_many(database: Database, chance: random.Random) -> dict[str, tuple[str, ZoneInfo]]:
    """Save the workflows; return the expressions and the zones of their schedules."""
    found: dict[str, tuple[str, ZoneInfo]] = {}
    for n in range(SCHEDULES):
        expression = chance.choice(HOURLY if n % 10 == 0 else FIXED)
        zone = chance.choice(ZONES)
        document = scheduled(
            scheduleCron=expression,
            scheduleTimezone=zone,
            scheduleOverlap="allow",
            scheduleMisfire="all",
        )
        found[await save(database, f"w{n}", document)] = (expression, ZoneInfo(zone))
    return found


@pytest.mark.timeout(60 + SCHEDULES // 8)
@pytest.mark.parametrize("change", CHANGES)
async def test_no_instant_is_missed_and_none_starts_twice(
    workers: Workers, clock: MovingClock, change: datetime
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {SCHEDULES} schedules")  # shown if the test fails
    chance = random.Random(seed)
    database = workers[0].database
    since = clock.now = change - BEFORE
    expressions = await save_many(database, chance)
    schedulers = [scheduler_of(worker.database) for worker in workers]
    await schedulers[0].search()
    latest = since
    while latest < change + AFTER:
        # The clock jumps up to an hour ahead, and now and then back.
        back = chance.random() < 0.2
        clock.advance(chance.uniform(-7_200, -120) if back else chance.uniform(60, 3_600))
        clock.now = max(clock.now, since)
        latest = max(latest, clock.now)
        more = [True, True]
        while any(more):
            more = await both(*(scheduler.fire_due() for scheduler in schedulers))
    found = await started(database)
    expected = {
        schedule_id: [
            to_text(instant)
            for instant in expected_instants(expression, zone, since, latest)
            if instant > since
        ]
        for schedule_id, (expression, zone) in expressions.items()
    }
    assert {key: found[key] for key in expected} == expected
    assert sum(map(len, expected.values())) >= SCHEDULES / 10
    assert await database.find_violations(service_runs=False) == []


async def started(database: Database) -> dict[str, list[str]]:
    """Return the instants by schedule; each of them has one execution."""
    query = text(
        'SELECT s."scheduleId", s.instant, e.inputs FROM orchestrator_schedule_runs s'
        ' JOIN workflow_executions e ON e.id = s."executionId" ORDER BY s.instant'
    )
    rows = await database._access.reader.run(lambda c: c.execute(query).all())
    count = text("SELECT count(*) FROM workflow_executions")
    assert await database._access.reader.run(lambda c: c.scalar(count)) == len(rows)
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        assert row[1] in row[2]  # the payload has the instant
        found[row[0]].append(row[1])
    return found
