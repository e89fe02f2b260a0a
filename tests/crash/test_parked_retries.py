"""SIGKILL while a retry is parked: the next attempt is on time, and retries are not reset."""

from datetime import datetime
from typing import Any

import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.ports import free_port
from tests.support.postgres import on_both
from tests.support.service import wait_until

HOUR = 3_600


@on_both()
@pytest.mark.timeout(300)  # it starts three services
def test_a_parked_retry_survives_kills_and_keeps_its_count(
    process: ServiceProcess,
) -> None:
    """Make three attempts in three processes."""
    url = f"http://127.0.0.1:{free_port()}/"
    call = node(
        "call", "http", httpUrl=url, retries=2, retryDelaySeconds=HOUR, retryBackoff="fixed"
    )
    process.run_process()
    execution_id = process.start(document(call))
    for attempt in (2, 3):
        log: Any = wait_until(
            lambda attempt=attempt: (
                (it := process.logs(execution_id).get("call"))
                and (it["status"], it["attempt"]) == ("waiting", attempt)
                and it
            )
        )
        assert "refused" in log["lastError"]
        until, since = (datetime.fromisoformat(log[key]) for key in ("waitUntil", "waitingSince"))
        assert round((until - since).total_seconds()) == HOUR
        wait_until(lambda: process.row(execution_id)["status"] == "waiting")
        assert process.row(execution_id)["owner"] is None
        process.kill()
        process.run_process(clock_shift_seconds=4 * HOUR * (attempt - 1))
    assert process.ended(execution_id)["status"] == "failed"
    log = process.logs(execution_id)["call"]
    assert (log["status"], log["attempt"]) == ("error", 3)
    assert log["waitedMs"] >= 2 * HOUR * 1_000
    assert process.row(execution_id)["recoveries"] == 0
    assert process.violations() == []
