"""Rejected ends: another program's trigger, or a defect, prevents the end of an execution."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert
from structlog.testing import capture_logs

from database import Database
from database.executions import execution_ends
from database.tables import definitions, failures
from engine.status import ExecutionStatus
from flows.worker import execution_run
from tests.support.call_trees import claim, rows, submission
from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until

REJECTED = "the auditor rejects it"
TRIGGER = (
    "CREATE TRIGGER audit BEFORE UPDATE OF status ON workflow_executions"
    " WHEN NEW.status IN ({}) BEGIN SELECT RAISE(ABORT, '" + REJECTED + "'); END"
)
WORKFLOW = document(node("start", "trigger"), node("last", "gate"), flow=("start -> last",))


def break_effect(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let an effect of an end write a row and violate a constraint afterwards."""

    def write_twice(connection: Connection, *_: Any) -> None:
        row = {"hash": name, "document": "{}", "createdAt": "2026"}
        connection.execute(insert(definitions), row)
        connection.execute(insert(definitions), row)

    monkeypatch.setattr(execution_ends, name, write_twice)


@pytest.mark.parametrize(
    "effect",
    ["cancel_node_runs", "run_completion_effects", "append_numbered_events", "record_failure"],
)
async def test_an_effect_that_cannot_be_written_does_not_prevent_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch, effect: str
) -> None:
    await database.submissions.submit(submission("e"))
    lease = await claim(database)
    break_effect(monkeypatch, effect)
    (reason,) = await database.journal.abandon(lease, "a defect")
    assert "IntegrityError" in reason
    execution = await database.queries.execution("e")
    assert (execution.status, execution.error) == (ExecutionStatus.FAILED, "a defect")
    assert await database.queue.claim("other", 9, 30.0) == []
    failed = await rows(database, failures)
    assert len(failed) == (effect != "record_failure")


def test_a_rejected_status_ends_the_execution_as_failed_after_one_run(
    tmp_path: Path, gates: Gates
) -> None:
    gates.open("last")
    with RunningService(tmp_path, PROBE_TYPES) as service:
        service.write(TRIGGER.format("'completed'"))
        done = service.ended(service.start(WORKFLOW))
        assert done["status"] == "failed"
        assert REJECTED in done["error"]
        assert gates.runs == ["last"]
        (group,) = service.http.get("/api/failures").json()["failures"]
        assert group["count"] == 1


def test_an_end_that_is_always_rejected_is_tried_again_without_its_nodes(
    tmp_path: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_run, "END_RETRY_DELAY_SECONDS", 0.01)
    gates.open("last")
    with capture_logs() as logged, RunningService(tmp_path, PROBE_TYPES) as service:
        service.write(TRIGGER.format("'completed', 'failed'"))
        execution_id = service.start(WORKFLOW)
        rejections = lambda: [e for e in logged if e["event"] == "execution_end_rejected"]  # noqa: E731
        wait_until(lambda: len(rejections()) >= 3)
        assert gates.runs == ["last"]
        service.write("DROP TRIGGER audit")
        done = service.ended(execution_id)
        assert done["status"] == "failed"
        assert REJECTED in done["error"]
        assert gates.runs == ["last"]
