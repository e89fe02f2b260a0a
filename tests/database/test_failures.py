"""Failures: every way to write ``failed`` records the failure and starts its workflow once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, delete, select, text, update

from database import Database
from database.executions.failures import FailureWorkflows, PreparedStart
from database.executions.journal_records import ExecutionResult
from database.records import Lease
from database.tables import executions, failures, runs, workflows
from engine.errors import LeaseLostError
from engine.outcome import Progress
from engine.status import ExecutionStatus
from tests.support.call_trees import FAILED, claim, status, submission, write
from tests.support.call_trees import rows as rows_of
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

LEASE = 30.0
rejected: list[tuple[str, str, str]] = []


def prepare(document: str, _payload: object) -> PreparedStart:
    if "broken" in document:
        raise ZeroDivisionError("a defect")
    return PreparedStart("{}", 1)


@pytest.fixture
async def recording(database: Database, clock: MovingClock) -> AsyncIterator[Database]:
    """Yield the database with a failure workflow of the service, ``handler``."""
    rejected.clear()
    names = FailureWorkflows(prepare, "handler", on_rejected=lambda *r: rejected.append(r))
    second = Database(database._url, clock, failure_workflows=names)
    await save(second, "handler", "{}")
    yield second
    assert await second.find_violations(service_runs=False) == []
    await second.close()


async def save(database: Database, workflow_id: str, data: str) -> None:
    own_row = workflows.c.id == workflow_id
    await write(database, delete(workflows).where(own_row))
    await write(database, workflows.insert().values(id=workflow_id, name=workflow_id, data=data))


async def finish(database: Database, lease: Lease) -> None:
    await database.journal.finish(lease, BEGUN, FAILED)


async def abandon(database: Database, lease: Lease) -> None:
    await database.journal.abandon(lease, "it crashed its owners")


async def end_elsewhere(database: Database, lease: Lease) -> None:
    await set_failed(database, lease)
    await database.journal.finish(
        lease, BEGUN, ExecutionResult(ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, "{}")
    )


async def fail_elsewhere_and_release(database: Database, lease: Lease) -> None:
    await set_failed(database, lease)
    await database.queue.release(lease)


async def fail_elsewhere_and_settle(database: Database, lease: Lease) -> None:
    await database.queue.release(lease)
    await set_failed(database, lease)
    assert await database.queue.settle_foreign_ends() == 1


async def fail_elsewhere_and_claim(database: Database, lease: Lease) -> None:
    await database.queue.release(lease)
    await set_failed(database, lease)
    assert await database.queue.claim("me", 1, LEASE) == []


async def set_failed(database: Database, lease: Lease) -> None:
    own_row = executions.c.id == lease.execution_id
    await write(database, update(executions).where(own_row).values(status="failed"))


@pytest.mark.parametrize(
    "fail",
    [
        finish,
        abandon,
        end_elsewhere,
        fail_elsewhere_and_release,
        fail_elsewhere_and_settle,
        fail_elsewhere_and_claim,
    ],
)
async def test_each_way_to_fail_starts_the_failure_workflow_once(
    recording: Database, fail: Callable[[Database, Lease], Awaitable[None]]
) -> None:
    await recording.submissions.submit(submission("e1"))
    lease = await claim(recording)
    await fail(recording, lease)
    (failure,) = await rows_of(recording, failures)
    assert (failure.executionId, failure.failureWorkflowId) == ("e1", "handler")
    started = select(executions).where(executions.c.triggerType == "failure")
    (run,) = await rows_of(recording, started.subquery())
    assert (run.id, run.workflowId, run.status) == (
        failure.failureExecutionId,
        "handler",
        "pending",
    )
    # A repetition of the write, whose first commit was not confirmed, starts nothing.
    with pytest.raises(LeaseLostError):
        await recording.journal.finish(lease, BEGUN, FAILED)
    assert len(await rows_of(recording, runs)) == 2


async def test_a_defect_of_the_preparation_does_not_prevent_the_failure(
    recording: Database,
) -> None:
    await save(recording, "handler", "broken")
    await recording.submissions.submit(submission("e1"))
    await finish(recording, await claim(recording))
    assert await status(recording, "e1") == ExecutionStatus.FAILED
    (failure,) = await rows_of(recording, failures)
    assert failure.failureExecutionId is None
    assert failure.failureError == "Workflow 'handler': ZeroDivisionError: a defect"
    assert rejected == [("e1", "handler", failure.failureError)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("document", "of_execution", "of_workflow", "is_started"),
    [
        ("{}", "a", None, True),  # the workflow of the service belongs to no organization
        ("{}", None, None, True),
        ("{}", "a", "a", True),
        ("{}", "a", "b", False),
        ('{"onFailureWorkflowId": "named"}', "a", "a", True),
        ('{"onFailureWorkflowId": "named"}', None, None, True),
        ('{"onFailureWorkflowId": "named"}', "a", "b", False),
    ],
)
async def test_a_failure_workflow_of_another_organization_is_not_started(
    recording: Database,
    document: str,
    of_execution: str | None,
    of_workflow: str | None,
    is_started: bool,
) -> None:
    for name in ("handler", "named"):
        await save(recording, name, "{}")
        own_row = workflows.c.id == name
        await write(recording, update(workflows).where(own_row).values(organizationId=of_workflow))
    failing = submission("e1", organization_id=of_execution)
    await recording.submissions.submit(replace(failing, document=document))
    await finish(recording, await claim(recording))
    (failure,) = await rows_of(recording, failures)
    assert (failure.failureExecutionId is not None) == is_started
    name = "named" if "named" in document else "handler"
    assert failure.failureError == (None if is_started else f"Workflow '{name}' not found")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_an_unknown_failure_workflow_is_not_started(recording: Database) -> None:
    is_own = workflows.c.id == "w"
    await write(recording, update(workflows).where(is_own).values(organizationId="a"))
    for number, name in enumerate(("unknown", "named")):
        await save(recording, "named", "{}")
        document = f'{{"onFailureWorkflowId": "{name}"}}'
        failing = submission(f"e{number}", organization_id="a")
        await recording.submissions.submit(replace(failing, document=document))
        await finish(recording, await claim(recording))
    # A workflow without an organization, which the settings do not name, is not visible.
    found = {row.executionId: row.failureError for row in await rows_of(recording, failures)}
    assert found == {"e0": "Workflow 'unknown' not found", "e1": "Workflow 'named' not found"}


async def test_a_failure_without_a_failure_workflow_is_recorded(database: Database) -> None:
    await database.submissions.submit(submission("e1"))
    await finish(database, await claim(database))
    (failure,) = await rows_of(database, failures)
    assert (failure.executionId, failure.failureWorkflowId, failure.rerunAs) == ("e1", None, None)
    assert await database.find_violations(service_runs=False) == []
    await database.submissions.submit(submission("again", rerun_of="e1"))
    (failure,) = await rows_of(database, failures)
    assert failure.rerunAs == "again"


async def test_the_migration_records_earlier_failures(database: Database) -> None:
    await database.submissions.submit(submission("e1"))
    await finish(database, await claim(database))
    before = await rows_of(database, failures)
    migration = import_module("database.migrations.versions.0016_failures")

    def migrate(connection: Connection) -> None:
        connection.execute(text("DROP TABLE orchestrator_failures"))
        connection.execute(text('ALTER TABLE orchestrator_runs DROP COLUMN "failureOf"'))
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()

    await database._access.writer.run(migrate)
    assert await rows_of(database, failures) == before
