"""Schedule detection in the database: which workflows have changed, and which rows are stored."""

from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from database import Database
from database.schedules import detection
from database.schedules.detection import hash_of
from database.schedules.records import (
    FoundSchedule,
    NextInstant,
    WorkflowSchedules,
    WorkflowVersion,
)
from database.tables import schedules, workflow_versions, workflows
from tests.support.call_trees import rows, write
from tests.support.fake_clock import MovingClock

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

SOON, LATER = "2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z"
DOCUMENT = '{"é": "schedule"}'


async def save(database: Database, workflow_id: Any, data: str = DOCUMENT, at: str = "1") -> None:
    row = {"name": "W", "data": data, "updatedAt": at}
    await write(database, delete(workflows).where(workflows.c.id == workflow_id))
    statement = insert(workflows).values(id=workflow_id, **row)
    await write(database, statement)


def found(name: str, settings: str | None = "{}", error: str | None = None) -> FoundSchedule:
    return FoundSchedule(name, name, settings, error, NextInstant(SOON, SOON))


def searched(version: WorkflowVersion, *schedules_of: FoundSchedule) -> WorkflowSchedules:
    return WorkflowSchedules(version, hash_of(version.document), schedules_of)


async def search(database: Database) -> list[str]:
    """Store the changed workflows without schedules; return their ids."""
    changed = await database.schedule_detection.changed_workflows()
    await database.schedule_detection.store(
        [searched(version) for version in changed.changed], changed.deleted
    )
    return sorted(version.workflow_id for version in changed.changed)


async def test_a_workflow_has_changed_if_its_time_or_its_size_has(database: Database) -> None:
    await save(database, "v")
    await save(database, "plain", "{}")
    assert await search(database) == ["plain", "v", "w"]
    assert await search(database) == []
    await save(database, "v", at="2")
    assert await search(database) == ["v"]
    await save(database, "v", DOCUMENT + " ", at="2")
    changed = await database.schedule_detection.changed_workflows()
    assert changed.changed == [
        WorkflowVersion("v", "2", len(DOCUMENT.encode()) + 1, DOCUMENT + " ")
    ]
    assert await search(database) == ["v"]
    known = {row.workflowId: row.hash for row in await rows(database, workflow_versions)}
    assert known == {"v": hash_of(DOCUMENT + " "), "plain": None, "w": None}
    await write(database, delete(workflows).where(workflows.c.id == "v"))
    assert (await database.schedule_detection.changed_workflows()).deleted == ["v"]
    await search(database)
    assert (await database.schedule_detection.changed_workflows()).deleted == []
    assert {row.workflowId for row in await rows(database, workflow_versions)} == {"plain", "w"}


async def test_documents_with_another_content_are_found_page_by_page(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "COMPARED_DOCUMENTS", 2)
    for name in "abcd":
        await save(database, name)
    await save(database, "plain", "{}")
    await search(database)
    same_size = DOCUMENT.replace("é", "è")
    for name in "bd":
        own_row = workflows.c.id == name
        await write(database, update(workflows).where(own_row).values(data=same_size))
    assert (await database.schedule_detection.changed_workflows()).changed == []
    documents = database.schedule_detection.changed_documents
    first, end = await documents("")
    assert ([each.workflow_id for each in first], end) == (["b"], "b")
    second, end = await documents("b")
    assert ([(each.workflow_id, each.document) for each in second], end) == (
        [("d", same_size)],
        "d",
    )
    assert await documents("d") == ([], None)


async def test_a_stored_schedule_changes_with_its_settings_only(
    database: Database, clock: MovingClock
) -> None:
    store = database.schedule_detection.store
    version, other = (WorkflowVersion(name, "1", 2, "schedule") for name in ("w", "other"))
    await save(database, "other")
    await store([searched(other, found("of other"))])
    await store([searched(version, found("same"), found("new settings"), found("gone"))])
    is_own = schedules.c.workflowId == "w"
    paused = update(schedules).where(is_own, schedules.c.id == "new settings")
    await write(database, paused.values(pausedAt=SOON, blockedBy="e", nextAt=LATER, dueAt=LATER))
    same = schedules.c.id == "same"
    await write(database, update(schedules).where(same).values(nextAt=LATER, blockedBy="e"))
    before = {row.id: row for row in await rows(database, schedules)}
    clock.advance(1)
    at = "2026-01-01T00:00:01.000Z"
    changed = (found("same"), found("new settings", '{"n": 1}'), found("new", None, "wrong"))
    await store([searched(version, *changed)])
    after = {row.id: row for row in await rows(database, schedules)}
    assert sorted(after) == ["new", "new settings", "of other", "same"]
    assert (after["same"], after["of other"]) == (before["same"], before["of other"])
    row = after["new settings"]
    assert (row.settings, row.nextAt, row.dueAt) == ('{"n": 1}', SOON, None)
    assert (row.handledAt, row.blockedBy, row.pausedAt) == (at, None, SOON)
    row = after["new"]
    assert (row.settings, row.error, row.dueAt, row.createdAt) == (None, "wrong", SOON, at)
    # The same settings with another reason why they are invalid.
    await store([searched(version, found("new", None, "worse"))])
    after = {row.id: row for row in await rows(database, schedules)}
    assert (sorted(after), after["new"].error) == (["new", "of other"], "worse")


async def test_schedules_of_a_workflow_that_exists_again_are_kept(database: Database) -> None:
    await save(database, "again")
    store = database.schedule_detection.store
    for name in ("again", "gone"):
        await store([searched(WorkflowVersion(name, "1", 2, "schedule"), found(f"of {name}"))])
    await store([], ["again", "gone"])
    assert [row.id for row in await rows(database, schedules)] == ["of again"]
    assert [row.workflowId for row in await rows(database, workflow_versions)] == ["again"]


async def test_a_file_has_changes_once_after_each_commit(database: Database) -> None:
    has_changes = database.schedule_detection.has_changes
    assert [await has_changes() for _ in range(3)] == [True, False, False]
    await save(database, "v")
    assert [await has_changes() for _ in range(2)] == [True, False]


async def test_a_workflow_whose_id_is_not_a_text_is_not_searched(database: Database) -> None:
    await search(database)
    await save(database, b"v")
    assert (await database.schedule_detection.changed_workflows()).changed == []
