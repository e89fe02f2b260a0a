"""SIGKILL while a bulk operation repairs failed executions: each one is run again once.

``REPAIRS`` is the number of failed executions and ``CRASH_ROUNDS`` the number of kills.
"""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.service import wait_until

REPAIRS = int(os.environ.get("REPAIRS", "20"))
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "2"))
MAX_SECONDS_TO_KILL = 0.3
CLIENTS = 4
SECONDS = 60 + REPAIRS
INTERVAL = 0.05 + REPAIRS / 5_000
"""Longest pause between two counts of executions, in seconds, because a count reads all of them."""


def graph(value: str) -> dict:
    """Return a definition with an unchanged node before the one that ``value`` repairs."""
    return document(
        node("start", "trigger"),
        node("fine", "addField", addFieldName="a", addFieldValue=1),
        node("bad", "addField", addFieldName="b", addFieldValue=value),
        flow=("start -> fine", "fine -> bad"),
    )


@on_both()
@pytest.mark.timeout(90 + 12 * ROUNDS + REPAIRS)
def test_kills_during_a_repair_lose_no_execution_and_repeat_none(
    tmp_path: Path, storage: Storage
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {REPAIRS} executions, {ROUNDS} kills")  # shown if the test fails
    chance = random.Random(seed)
    limits = dict.fromkeys(("max_pending_executions", "execution_retention_count"), 1_000_000)
    settings = {"max_recovery_attempts": 100, **limits, **storage}
    with ServiceProcess(tmp_path, **settings) as service:
        service.run_process()
        service.save(graph("{{ missing }}"))
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: service.submit(), range(REPAIRS)))
        reach(service, "e.status = 'failed'", REPAIRS)
        service.save(graph("2"))
        (group,) = service.http.get("/api/failures").json()["failures"]
        body = {
            "action": "rerun",
            "filter": {"failure": group["fingerprint"]},
            "definition": "current",
        }
        started = service.http.post("/api/executions/bulk", json=body).json()
        assert started["matched"] == REPAIRS
        for round_number in range(ROUNDS):
            # Each kill hits the operation at another stage, at a random time.
            stage = REPAIRS * round_number // ROUNDS
            reach(service, "r.rerunOf IS NOT NULL", stage)
            time.sleep(chance.uniform(0.0, MAX_SECONDS_TO_KILL))
            service.kill()
            assert service.violations(service_runs=False) == []
            service.run_process()
        path = f"/api/bulk/{started['bulkId']}"
        wait_until(
            lambda: service.http.get(path).json()["status"] == "completed", SECONDS, INTERVAL
        )
        done = service.http.get(path).json()
        assert (done["succeeded"], done["failed"]) == (REPAIRS, 0)
        reach(service, "e.status = 'completed'", REPAIRS)
        assert count(service, "e.status = 'failed'") == REPAIRS
        rows = service.rows("SELECT DISTINCT rerunOf FROM orchestrator_runs WHERE rerunOf <> ''")
        assert len(rows) == count(service, "r.rerunOf IS NOT NULL") == REPAIRS
        # No unchanged node has run again.
        ran = service.rows(
            "SELECT nodeId, count(*) AS n FROM execution_logs"
            " WHERE reusedFrom IS NULL AND status = 'completed' GROUP BY nodeId"
        )
        assert {row["nodeId"]: row["n"] for row in ran} == dict.fromkeys(
            ("start", "fine", "bad"), REPAIRS
        )
        assert service.violations() == []


def reach(service: ServiceProcess, condition: str, number: int) -> None:
    """Wait until this number of executions meets a condition."""
    wait_until(lambda: count(service, condition) >= number, SECONDS, INTERVAL)


def count(service: ServiceProcess, condition: str) -> int:
    query = (
        "SELECT count(*) AS n FROM workflow_executions e"
        f" JOIN orchestrator_runs r ON r.executionId = e.id WHERE {condition}"
    )
    return service.rows(query)[0]["n"]
