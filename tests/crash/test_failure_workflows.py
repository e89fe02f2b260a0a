"""SIGKILL at random times while executions fail: each one starts its failure workflow once.

``FAILURES`` is the number of failed executions and ``CRASH_ROUNDS`` the number of kills.
"""

import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.service import wait_until

FAILURES = int(os.environ.get("FAILURES", "20"))
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "2"))
MAX_SECONDS_TO_KILL = 1.5
HANDLES = document(node("receive", "trigger"), node("end"), flow=("receive -> end",))
FAILS = document(
    node("start", "trigger"),
    node("bad", "addField", addFieldName="x", addFieldValue="{{ missing }}"),
    flow=("start -> bad",),
)


@on_both()
@pytest.mark.timeout(90 + 12 * ROUNDS + FAILURES)
def test_failures_over_kills_start_exactly_one_run_each(tmp_path: Path, storage: Storage) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}, {FAILURES} failures, {ROUNDS} kills")  # shown if the test fails
    chance = random.Random(seed)
    settings = {"max_recovery_attempts": 100, "on_failure_workflow_id": "handler", **storage}
    with ServiceProcess(tmp_path, **settings) as service:
        service.run_process()
        service.save(HANDLES, "handler")
        service.save(FAILS, "failing")
        for round_number in range(ROUNDS):
            target = FAILURES * (round_number + 1) // ROUNDS
            submitting = threading.Thread(target=submit_up_to, args=(service, target))
            submitting.start()
            # The time of the kill is random.
            time.sleep(chance.uniform(0.0, MAX_SECONDS_TO_KILL))
            service.kill()
            submitting.join()
            assert service.violations(service_runs=False) == []
            service.run_process()
        submit_up_to(service, FAILURES)
        wait_until(lambda: count(service, "failing", "failed") == FAILURES, 60 + FAILURES)
        wait_until(lambda: count(service, "handler", "completed") == FAILURES, 60 + FAILURES)
        rows = service.rows(
            "SELECT r.failureOf AS failed FROM orchestrator_runs r"
            " JOIN workflow_executions e ON e.id = r.executionId WHERE e.workflowId = 'handler'"
        )
        assert len(rows) == len({row["failed"] for row in rows}) == FAILURES
        assert service.violations() == []


def submit_up_to(service: ServiceProcess, number: int) -> None:
    """Submit until this number of executions is stored or the service is killed."""
    with suppress(httpx.HTTPError):
        while count(service, "failing") < number:
            service.submit("failing")


def count(service: ServiceProcess, workflow_id: str, status: str = "%") -> int:
    query = "SELECT count(*) AS n FROM workflow_executions WHERE workflowId = ? AND status LIKE ?"
    return service.rows(query, workflow_id, status)[0]["n"]
