"""An execution that brings its process down does so a few times, and takes nobody along."""

from pathlib import Path

import pytest

from tests.support.counting_server import Visits
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node


@pytest.mark.timeout(120)  # the service starts four times
@pytest.mark.parametrize("poison", ["kill", "exit"])
def test_poison_fails_with_a_reason_and_the_innocent_beside_it_complete(
    tmp_path: Path, visits: Visits, poison: str
) -> None:
    with ServiceProcess(tmp_path, max_recovery_attempts=3) as service:
        service.run_process()
        # No node of these ends between two crashes: by the counts alone they are as suspicious.
        service.save(document(visits.node("slow", "gate")), "innocent")
        innocent = [service.submit("innocent").json()["executionId"] for _ in range(2)]
        for execution_id in innocent:
            visits.wait_for(execution_id, "slow")
        graph = document(visits.node("fine"), node("bad", poison), flow=("fine -> bad",))
        bad = service.start_fatal(graph)

        # Everybody gets another chance, together; the poison may be quicker than the others.
        service.start_process().wait_dead(40)
        came = visits.of(innocent[0])["slow"]

        # Then each one alone: the innocent complete, and the poison has nobody to take along.
        service.run_process()
        visits.wait_for(innocent[0], "slow", came + 1)
        everyone = [*innocent, bad]
        assert [service.row(i)["status"] for i in everyone] == ["running", "pending", "pending"]
        assert service.violations() == []
        visits.open("gate")
        service.wait_dead()
        assert [service.row(i)["status"] for i in innocent] == ["completed"] * 2

        # There is no fourth time.
        service.run_process()
        assert service.wait_ended(bad) == ["failed"]
        row = service.row(bad)
        assert "went down 3 times while it ran this execution" in row["error"]
        assert "MAX_RECOVERY_ATTEMPTS" in row["error"]
        assert service.node_rows(bad)["bad"]["attempt"] == 3
        assert visits.of(bad) == {"fine": 1}
        assert service.run(document(visits.node("next")))["status"] == "completed"
        assert service.violations() == []
