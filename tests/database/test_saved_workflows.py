"""Saved workflows in the database: versions, times, and what a deletion removes and stops."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from database import Database, to_text
from database.executions.inline_workflows import inline_workflow_id, is_inline_workflow_id
from database.records import WorkflowChange
from database.tables import executions, workflows
from database.workflows import version_of
from engine.errors import (
    PreconditionFailedError,
    WorkflowExistsError,
    WorkflowInUseError,
    WorkflowNotFoundError,
)
from tests.support.call_trees import DONE, claim, rows, submission, write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

FIRST, SECOND = WorkflowChange("First", "{}", "[1]"), WorkflowChange("Second", '{"n": 2}', "[2]")
START = "2026-01-01T00:00:00.000Z"


async def test_a_change_keeps_other_workflows_and_what_it_does_not_name(
    database: Database, clock: MovingClock
) -> None:
    created = await database.workflows.create("own", "a", FIRST)
    other = await database.workflows.create("other", "b", FIRST)
    assert (created.created_at, created.updated_at, created.organization_id) == (START, START, "a")
    with pytest.raises(WorkflowExistsError):
        await database.workflows.create("own", None, SECOND)
    clock.advance(1)
    changed = await database.workflows.update("own", SECOND)
    assert (changed.name, changed.data, changed.tags) == ("Second", '{"n": 2}', "[2]")
    assert (changed.created_at, changed.updated_at) == (START, to_text(clock()))
    kept = WorkflowChange("Third", "{}", None, keep_tags=True)
    assert (await database.workflows.update("own", kept)).tags == "[2]"
    assert (await database.workflows.read("own")).tags == "[2]"
    assert await database.workflows.read("other") == other
    with pytest.raises(WorkflowNotFoundError):
        await database.workflows.update("unknown", SECOND)


async def test_each_change_has_a_later_time_than_the_one_before(
    database: Database, clock: MovingClock
) -> None:
    async def changed(before: str | None) -> str | None:
        own_row = workflows.c.id == "w"
        await write(database, update(workflows).where(own_row).values(updatedAt=before))
        return (await database.workflows.update("w", FIRST)).updated_at

    now, next_one = START, "2026-01-01T00:00:00.001Z"
    assert await changed(None) == now
    assert await changed("2025-12-31T23:59:59.999Z") == now
    assert await changed(now) == next_one
    assert await changed(to_text(clock() + timedelta(days=1))) == "2026-01-02T00:00:00.001Z"
    for unusual in ("2027-01-01 00:00:00", "2027-99-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"):
        assert await changed(unusual) == now


async def test_a_version_is_the_time_of_the_service_or_a_hash(database: Database) -> None:
    created = await database.workflows.create("own", None, FIRST)
    assert version_of(created) == START
    own_row = workflows.c.id == "own"
    await write(database, update(workflows).where(own_row).values(updatedAt="2026"))
    foreign = version_of(await database.workflows.read("own"))
    assert len(foreign) == 64
    for accepted in ([], [START], ["2026"]):
        with pytest.raises(PreconditionFailedError):
            await database.workflows.update("own", SECOND, accepted)
        with pytest.raises(PreconditionFailedError):
            await database.workflows.delete("own", accepted)
    assert (await database.workflows.update("own", SECOND, ["x", foreign])).name == "Second"


async def test_a_deletion_removes_the_executions_of_its_workflow_only(database: Database) -> None:
    await database.workflows.create("own", None, FIRST)
    for execution_id, workflow_id in (
        ("ended", "own"),
        ("other", "w"),
        ("running", "own"),
        ("other running", "w"),
        ("pending", "own"),
    ):
        await database.submissions.submit(submission(execution_id, workflow_id))
        if execution_id != "pending":
            lease = await claim(database)
            if "running" not in execution_id:
                await database.journal.finish(lease, BEGUN, DONE)
    with pytest.raises(WorkflowInUseError, match="2 executions"):
        await database.workflows.delete("own")
    assert len(await rows(database, executions)) == 5
    assert await database.workflows.delete("own", force=True) == ["running"]
    assert {row.id for row in await rows(database, executions)} == {"other", "other running"}
    assert [row.id for row in await rows(database, workflows)] == ["w"]
    with pytest.raises(WorkflowNotFoundError):
        await database.workflows.delete("own")


async def test_an_execution_without_a_status_is_in_use(database: Database) -> None:
    foreign = {"id": "foreign", "workflowId": "w", "status": None}
    await write(database, executions.insert().values(**foreign))
    with pytest.raises(WorkflowInUseError, match="1 execution"):
        await database.workflows.delete("w")


@pytest.mark.parametrize(
    ("organization_id", "inline"), [(None, "orchestrator-inline"), ("a", "orchestrator-inline:a")]
)
async def test_the_workflow_of_inline_documents_is_not_a_saved_one(
    database: Database, organization_id: str | None, inline: str
) -> None:
    assert inline_workflow_id(organization_id) == inline
    new = submission("e", inline, organization_id=organization_id, unsaved=True)
    await database.submissions.submit(new)
    row = {row.id: row for row in await rows(database, workflows)}[inline]
    assert row.organizationId == organization_id
    with pytest.raises(WorkflowNotFoundError):
        await database.workflows.read(inline)
    with pytest.raises(WorkflowNotFoundError):
        await database.workflows.update(inline, FIRST)
    with pytest.raises(WorkflowNotFoundError):
        await database.workflows.delete(inline, force=True)
    page = await database.listings.workflows(None, 9)
    assert [each.id for each in page.items] == ["w"]


async def test_workflows_with_similar_ids_are_saved_ones(database: Database) -> None:
    similar = ["Orchestrator-Inline:a", "orchestrator-inline-a", "x-orchestrator-inline:a"]
    for workflow_id in similar:
        assert not is_inline_workflow_id(workflow_id)
        await database.workflows.create(workflow_id, None, FIRST)
        assert (await database.workflows.read(workflow_id)).id == workflow_id
    page = await database.listings.workflows(None, 9)
    assert {each.id for each in page.items} == {"w", *similar}
