"""Poisoned execution: it crashes the service a limited number of times, and others complete."""

from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.service import wait_until


@pytest.mark.timeout(300)  # the service starts four times
@pytest.mark.parametrize("poison", ["kill", "exit"])
def test_a_poisoned_execution_fails_and_others_complete(
    tmp_path: Path, visits: CallCounter, poison: str
) -> None:
    with ServiceProcess(tmp_path, max_recovery_attempts=3) as service:
        service.run_process()
        # No node of these ends between two crashes, so their counters equal the poisoned one's.
        service.save(document(visits.node("slow", "gate")), "innocent")
        innocent = [service.submit("innocent").json()["executionId"] for _ in range(2)]
        for execution_id in innocent:
            visits.wait_for(execution_id, "slow")
        crash = tmp_path / "crash"
        crash.touch()
        bad_node = node("bad", poison, waitsFor=str(crash))
        bad = service.start_fatal(document(visits.node("fine"), bad_node, flow=("fine -> bad",)))
        everyone = [*innocent, bad]

        # All run together again.
        crash.unlink()
        service.start_process()
        for execution_id in innocent:
            visits.wait_for(execution_id, "slow", 2)
        service.wait_for_status(bad, "running")

        # One heartbeat renews all leases. They expire together, so one claim counts the crash for
        # all executions, and the order of the claims is the order of the submissions.
        def leases_expire_together() -> bool:
            rows = [service.row(i) for i in everyone]
            return len({(row["owner"], row["claimableAt"]) for row in rows}) == 1

        wait_until(leases_expire_together)
        crash.touch()
        service.wait_dead()
        assert [service.row(i)["recoveries"] for i in everyone] == [1, 1, 1]

        # Then each runs in isolation, so the others complete.
        service.run_process()
        visits.wait_for(innocent[0], "slow", 3)
        # A row stays ``running`` until the lease of the crashed service has expired.
        alone = ["running", "pending", "pending"]
        wait_until(lambda: [service.row(i)["status"] for i in everyone] == alone)
        assert service.violations() == []
        visits.open("gate")
        service.wait_dead()
        assert [service.row(i)["status"] for i in innocent] == ["completed"] * 2

        # It does not run a fourth time.
        service.run_process()
        assert service.wait_ended(bad) == ["failed"]
        row = service.row(bad)
        assert "went down 3 times while it ran this execution" in row["error"]
        assert "MAX_RECOVERY_ATTEMPTS" in row["error"]
        assert service.node_rows(bad)["bad"]["attempt"] == 3
        assert visits.of(bad) == {"fine": 1}
        assert service.run(document(visits.node("next")))["status"] == "completed"
        assert service.violations() == []
