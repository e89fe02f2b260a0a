"""SIGKILL at random times, repeatedly, while executions run.

``CRASH_ROUNDS`` is the number of rounds; ``make crash`` sets it to 50.
"""

import os
import random
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.conditions import wait_until
from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "5"))
IN_FLIGHT = 20
SECONDS_A_ROUND = 10


def graph(visits: CallCounter) -> dict:
    """Return a graph with ten calls, some of them parallel, and nodes without calls."""
    nodes = [visits.node(f"v{i}") for i in range(10)]
    own = [node("start", "trigger"), node("add", "addField"), node("end")]
    chain = [f"v{i} -> v{i + 2}" for i in range(8)]
    return document(
        *nodes, *own, flow=("start -> v0", "start -> v1", *chain, "v8 -> add", "add -> end")
    )


class Ledger:
    """Completed nodes at each kill, and the number of their calls until then."""

    def __init__(self, service: ServiceProcess, visits: CallCounter) -> None:
        self._service = service
        self._visits = visits
        self._completed: dict[str, int] = {}
        self.rerun = 0

    def close_round(self) -> None:
        """Read the state that the killed service left."""
        counts = self._visits.counts
        rows = self._service.rows("SELECT id, status FROM execution_logs")
        for row in rows:
            if row["status"] == "completed" and row["id"] in counts:
                self._completed.setdefault(row["id"], counts[row["id"]])
            self.rerun += row["status"] == "running"
        self.check()

    def check(self) -> None:
        """Check that no completed node was called again."""
        counts = self._visits.counts
        again = {key: n for key, n in self._completed.items() if counts[key] != n}
        assert again == {}


@pytest.mark.timeout(30 + SECONDS_A_ROUND * ROUNDS)
def test_random_kills_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path, visits: CallCounter
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {ROUNDS} rounds")  # shown if the test fails
    chance = random.Random(seed)
    # A high limit, because in a short round no node may end.
    settings = {"max_recovery_attempts": 100, "max_concurrent_executions": IN_FLIGHT}
    with ServiceProcess(tmp_path, **settings) as service:
        service.run_process()
        workflow_id = service.save(graph(visits))
        ledger = Ledger(service, visits)
        ids: list[str] = []
        for _ in range(ROUNDS):
            keep_busy = threading.Thread(target=fill_up, args=(service, workflow_id))
            keep_busy.start()
            wait_until(partial(has_more, service, len(ids)))
            time.sleep(chance.uniform(0.0, 1.5))  # the time of the kill is random
            service.kill()
            keep_busy.join()
            assert service.violations(service_runs=False) == []
            ledger.close_round()
            ids = executions_of(service)
            service.run_process()
        service.wait_ended(*ids, seconds=60)
        failed = service.rows("SELECT id, error FROM workflow_executions WHERE status = 'failed'")
        assert [dict(row) for row in failed] == []
        ledger.check()
        assert service.violations() == []
        assert set(visits.counts) == {f"{i}:v{n}" for i in ids for n in range(10)}
        print(f"{len(ids)} executions, {ledger.rerun} node runs in flight at kills")
        assert len(ids) >= min(ROUNDS, IN_FLIGHT)


def executions_of(service: ServiceProcess) -> list[str]:
    return [row["executionId"] for row in service.rows("SELECT executionId FROM orchestrator_runs")]


def has_more(service: ServiceProcess, count: int) -> bool:
    """Return whether an execution was submitted after the last kill, or enough are in flight."""
    return len(executions_of(service)) > count or in_flight(service) >= IN_FLIGHT


def in_flight(service: ServiceProcess) -> int:
    query = "SELECT count(*) AS n FROM orchestrator_runs WHERE endedAt IS NULL"
    return service.rows(query)[0]["n"]


def fill_up(service: ServiceProcess, workflow_id: str) -> None:
    """Submit until the given number is in flight or the service is killed."""
    with suppress(httpx.HTTPError):
        while in_flight(service) < IN_FLIGHT:
            service.submit(workflow_id)
