"""SIGKILL at random times of two services that run the same schedules.

``CRASH_ROUNDS`` is the number of kills; ``make crash`` sets it to 50.
"""

import os
import random
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.postgres import Storage, on_both
from tests.support.schedules import scheduled
from tests.support.service import wait_until

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "3"))
SECONDS_A_ROUND = 12
SCHEDULES = 5
CONFIG = {"scheduleEverySeconds": 1, "scheduleOverlap": "allow", "scheduleMisfire": "all"}


@on_both()
@pytest.mark.timeout(90 + SECONDS_A_ROUND * ROUNDS)
def test_kills_of_two_services_miss_no_instant_and_repeat_none(
    tmp_path: Path, storage: Storage
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {ROUNDS} kills")  # shown if the test fails
    chance = random.Random(seed)
    settings = {"max_recovery_attempts": 100, **storage}
    with ServiceProcess(tmp_path, **settings) as first, ServiceProcess(tmp_path, **settings) as two:
        first.run_process()
        for n in range(SCHEDULES):
            first.save(scheduled(**CONFIG), f"w{n}")
        two.run_process()
        wait_until(lambda: len(instants(first)) == SCHEDULES)
        for round_number in range(ROUNDS):
            killed = chance.choice((first, two))
            time.sleep(chance.uniform(0.0, 1.5))  # the time of the kill is random
            killed.kill()
            if round_number % 2:  # no service runs for some seconds
                other = two if killed is first else first
                other.kill()
                time.sleep(chance.uniform(1.0, 3.0))
                other.run_process()
            killed.run_process()
        count = len(all_instants(first))
        wait_until(lambda: len(all_instants(first)) > count + SCHEDULES)
        two.stop()
        first.stop()
        found = instants(first)
        assert len(found) == SCHEDULES
        for times in found.values():
            assert times == every_second(times[0], len(times))
        assert first.violations(service_runs=False) == []


def all_instants(service: ServiceProcess) -> list[tuple[str, str]]:
    rows = service.rows('SELECT "scheduleId" AS s, instant AS i FROM orchestrator_schedule_runs')
    return sorted((row["s"], row["i"]) for row in rows)


def instants(service: ServiceProcess) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for schedule_id, instant in all_instants(service):
        found.setdefault(schedule_id, []).append(instant)
    return found


def every_second(first: str, count: int) -> list[str]:
    start = datetime.fromisoformat(first)
    texts = (
        (start + timedelta(seconds=n)).isoformat(timespec="milliseconds") for n in range(count)
    )
    return [text.replace("+00:00", "Z") for text in texts]
