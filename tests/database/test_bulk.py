"""Bulk operations in the database: which executions match, and who may claim and settle an item."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from database import Database
from database.bulk.records import (
    BulkCursor,
    BulkFilter,
    BulkReceipt,
    BulkRequest,
    ClaimedBulk,
)
from database.bulk.work import CLOCK_TOLERANCE_SECONDS
from database.bulk_tables import bulk_items, bulk_operations
from database.schedules.records import PendingLimits
from database.tables import executions, failures, runs
from engine.errors import (
    ConflictError,
    ExecutionNotFoundError,
    IdempotencyKeyReusedError,
    QueueFullError,
)
from engine.request_errors import BulkNotFoundError, TooManyBulkItemsError
from engine.status import ExecutionStatus
from tests.support.call_trees import DONE, FAILED, LEASE, claim, rows, status, submission, write
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN
from tests.support.two_workers import Workers

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
NO_FILTER = BulkFilter(None, frozenset(), None, None, None, include_rerun=False)
MANY = 1_000
NO_LIMITS = PendingLimits(MANY, MANY)


def request(action: Any = "rerun", **values: Any) -> BulkRequest:
    """Return an operation on all executions of the action, or on those of ``ids`` or a filter."""
    options = {"id": "b", "organization_id": None, "ids": None, "definition": "original", **values}
    names = ("id", "organization_id", "ids", "definition", "body_hash", "idempotency_key")
    known = {name: options.pop(name) for name in names if name in options}
    return BulkRequest(
        action=action, filter=replace(NO_FILTER, **options), **{"body_hash": "h", **known}
    )


async def run(database: Database, execution_id: str, result: Any = FAILED, **values: Any) -> None:
    """Store an execution that has ended."""
    await database.submissions.submit(submission(execution_id, **values))
    await database.journal.finish(await claim(database), BEGUN, result)


async def matched(database: Database, wanted: BulkRequest) -> list[str]:
    """Return the executions of an operation in the order of their ids, and delete it again."""
    assert await database.bulk.count(wanted) == (await database.bulk.create(wanted)).matched
    page = await database.bulk.items(wanted.id, None, 99, None)
    await write(database, bulk_operations.delete())
    await write(database, bulk_items.delete())
    return [item.execution_id for item in page.items]


@on_sqlite
async def test_an_action_matches_the_executions_to_which_it_can_be_applied(
    database: Database,
) -> None:
    await run(database, "done", DONE)
    await run(database, "failed-1")
    await run(database, "failed-2")
    await database.submissions.submit(submission("again", rerun_of="failed-1"))
    foreign = {"workflowId": "w", "status": "failed"}
    await write(database, executions.insert().values(id="foreign", **foreign))
    assert await matched(database, request("rerun")) == ["failed-2"]
    assert await matched(database, request("rerun", include_rerun=True)) == ["failed-1", "failed-2"]
    assert await matched(database, request("cancel")) == ["again"]
    assert await matched(database, request("delete")) == ["done", "failed-1", "failed-2"]
    both = frozenset({"completed", "failed", "pending"})
    assert await matched(database, request("rerun", statuses=both)) == ["done", "failed-2"]
    assert await matched(database, request("cancel", statuses=both)) == ["again"]
    assert await matched(database, request("delete", statuses=frozenset({"completed"}))) == ["done"]
    assert await matched(database, request("delete", workflow_id="w")) == [
        "done",
        "failed-1",
        "failed-2",
    ]
    assert await matched(database, request("delete", workflow_id="other")) == []


@on_sqlite
async def test_a_filter_is_limited_by_time_failure_and_organization(
    database: Database, clock: MovingClock
) -> None:
    times: list[str] = []
    for number, organization in enumerate(("a", "b", "a")):
        times.append(clock().isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        await run(database, f"e{number}", organization_id=organization)
        clock.advance(1)
    assert await matched(database, request(created_from=times[1])) == ["e1", "e2"]
    assert await matched(database, request(created_to=times[1])) == ["e0"]
    between = request(created_from=times[1], created_to=times[2])
    assert await matched(database, between) == ["e1"]
    assert await matched(database, request(organization_id="a")) == ["e0", "e2"]
    own_row = failures.c.executionId == "e1"
    await write(database, update(failures).where(own_row).values(fingerprint="other"))
    assert await matched(database, request(failure="other")) == ["e1"]
    assert await matched(database, request("delete", failure="other")) == ["e1"]


@on_sqlite
async def test_an_operation_without_executions_is_completed_at_once(
    database: Database, clock: MovingClock
) -> None:
    for ids in (None, ()):
        assert await database.bulk.create(request(ids=ids, id=f"{ids}")) == BulkReceipt(f"{ids}", 0)
        progress = await database.bulk.progress(f"{ids}")
        assert progress.completed_at == progress.created_at == "2026-01-01T00:00:00.000Z"
    assert await database.bulk_work.claim("me", 9, LEASE) is None


@on_sqlite
async def test_the_executions_of_an_operation_are_limited(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(database, "e1")
    await run(database, "e2")
    monkeypatch.setattr("database.bulk.store.MAX_BULK_ITEMS", 2)
    assert (await database.bulk.create(request(id="all"))).matched == 2
    assert (await database.bulk.create(request(id="ids", ids=("a", "b", "a")))).matched == 2
    monkeypatch.setattr("database.bulk.store.MAX_BULK_ITEMS", 1)
    for wanted in (request(), request(ids=("a", "b"))):
        with pytest.raises(TooManyBulkItemsError):
            await database.bulk.create(wanted)
        with pytest.raises(BulkNotFoundError):
            await database.bulk.progress("b")


@on_sqlite
async def test_a_key_belongs_to_one_request_of_an_organization(database: Database) -> None:
    first = request(ids=("e",), idempotency_key="k")
    assert await database.bulk.create(first) == BulkReceipt("b", 1)
    assert await database.bulk.create(replace(first, id="c", ids=())) == BulkReceipt("b", 1)
    with pytest.raises(IdempotencyKeyReusedError, match="'k'"):
        await database.bulk.create(replace(first, id="c", body_hash="other"))
    of_another = replace(first, id="c", organization_id="a", body_hash="other")
    assert await database.bulk.create(of_another) == BulkReceipt("c", 1)
    assert await database.bulk.create(replace(of_another, id="d")) == BulkReceipt("c", 1)
    # Operations without a key are different ones.
    for bulk_id in ("x", "y"):
        assert (await database.bulk.create(request(ids=(), id=bulk_id))).id == bulk_id


@on_sqlite
async def test_an_operation_has_its_counts_and_pages_of_items(database: Database) -> None:
    ids = ("e1", "e3", "e2", "e4")
    await database.bulk.create(request("delete", ids=ids, organization_id="a"))
    await database.bulk.create(request(id="other", ids=("e0", "e9"), definition="current"))
    bulk = await database.bulk_work.claim("me", 2, LEASE)
    assert bulk is not None
    assert (bulk.id, bulk.action, bulk.organization_id) == ("b", "delete", "a")
    assert (bulk.definition, bulk.execution_ids) == ("original", ["e1", "e2"])
    await database.bulk_work.fail(bulk, "e1", "locked")
    await database.bulk_work.fail(bulk, "e1", "again")
    await database.bulk_work.fail(replace(bulk, id="other"), "e9", "of another operation")
    progress = await database.bulk.progress("b")
    assert (progress.matched, progress.succeeded, progress.failed) == (4, 0, 1)
    assert (progress.organization_id, progress.definition, progress.completed_at) == (
        "a",
        None,
        None,
    )
    other = await database.bulk.progress("other")
    assert (other.organization_id, other.definition, other.failed) == (None, "current", 1)
    page = await database.bulk.items("b", None, 4, None)
    assert [item.execution_id for item in page.items] == ["e1", "e2", "e3", "e4"]
    assert (page.end, page.items[0].error, page.items[1].error) == (None, "locked", None)
    page = await database.bulk.items("b", None, 3, None)
    assert (len(page.items), page.end) == (3, BulkCursor("e3"))
    page = await database.bulk.items("b", None, 3, page.end)
    assert ([item.execution_id for item in page.items], page.end) == (["e4"], None)
    page = await database.bulk.items("b", "failed", 9, None)
    assert [item.execution_id for item in page.items] == ["e1"]
    page = await database.bulk.items("b", "pending", 9, BulkCursor("e2"))
    assert [item.execution_id for item in page.items] == ["e3", "e4"]
    bulk = await database.bulk_work.claim("me", 9, LEASE)
    assert bulk is not None
    assert bulk.execution_ids == ["e2", "e3", "e4"]


async def test_an_operation_is_claimed_by_one_worker_until_its_lease_ends(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = (worker.database for worker in workers)
    for number in range(2):
        await first.bulk.create(request(id=f"b{number}", ids=("e",)))
        clock.advance(1)
    work = second.bulk_work
    claimed = [await first.bulk_work.claim("first", 9, LEASE), await work.claim("second", 9, LEASE)]
    assert [bulk and bulk.id for bulk in claimed] == ["b0", "b1"]
    assert await work.claim("third", 9, LEASE) is None
    assert (await ids_of(first, "first"), await ids_of(second, "second")) == ("b0", "b1")
    clock.advance(LEASE - 0.001)
    assert await work.claim("third", 9, LEASE) is None
    clock.advance(0.001)
    assert await ids_of(second, "third") == "b0"
    # The lease of the first one is lost, so that it releases nothing.
    assert claimed[0] is not None
    await first.bulk_work.release(claimed[0])
    assert await ids_of(first, "first") == "b1"
    assert await ids_of(first, "fourth") is None
    bulk = ClaimedBulk("b1", "first", "rerun", None, "original", [])
    await first.bulk_work.release(bulk, 5)
    assert await ids_of(second, "second") is None
    clock.advance(5)
    assert await ids_of(second, "second") == "b1"
    await second.bulk_work.release(replace(bulk, owner="second"))
    assert await ids_of(first, "fifth") == "b1"


async def ids_of(database: Database, owner: str) -> str | None:
    """Claim an operation and return its id."""
    bulk = await database.bulk_work.claim(owner, 9, LEASE)
    return None if bulk is None else bulk.id


@on_sqlite
async def test_a_lease_of_a_clock_that_was_ahead_has_ended(
    database: Database, clock: MovingClock
) -> None:
    await database.bulk.create(request(ids=("e",)))
    await database.bulk_work.claim("ahead", 9, LEASE)
    clock.advance(-CLOCK_TOLERANCE_SECONDS)
    assert await ids_of(database, "me") is None
    clock.advance(-0.001)
    assert await ids_of(database, "me") == "b"


@on_sqlite
async def test_an_operation_is_completed_after_its_last_item(
    database: Database, clock: MovingClock
) -> None:
    await database.bulk.create(request(ids=("e",)))
    await database.bulk.create(request(id="other", ids=("e",)))
    bulk = await database.bulk_work.claim("me", 9, LEASE)
    assert bulk is not None
    await database.bulk_work.fail(bulk, "e", "gone")
    clock.advance(1)
    bulk = await database.bulk_work.claim("me", 9, LEASE)
    assert bulk is not None
    assert (bulk.id, bulk.execution_ids) == ("b", [])
    assert (await database.bulk.progress("b")).completed_at == "2026-01-01T00:00:01.000Z"
    other = await database.bulk.progress("other")
    assert (other.completed_at, other.failed) == (None, 0)
    assert await ids_of(database, "you") == "other"
    (row,) = [row for row in await rows(database, bulk_operations) if row.id == "b"]
    assert (row.owner, row.claimableAt) == (None, None)


async def claimed(database: Database, action: Any, *ids: str, **values: Any) -> ClaimedBulk:
    """Store and claim an operation on these executions."""
    await database.bulk.create(request(action, ids=ids, **values))
    bulk = await database.bulk_work.claim("me", 9, LEASE)
    assert bulk is not None
    return bulk


async def item(database: Database, execution_id: str) -> tuple[str, str | None]:
    """Return the status of an item and its new execution."""
    is_item = bulk_items.c.executionId == execution_id
    (row,) = await rows(database, select(bulk_items).where(is_item).subquery())
    return row.status, row.newExecutionId


@on_sqlite
async def test_an_execution_is_run_again_once(database: Database) -> None:
    await run(database, "e1")
    await run(database, "e2")
    bulk = await claimed(database, "rerun", "e1", "e2")
    again = submission("again", rerun_of="e1")
    limits = PendingLimits(1, MANY)
    assert await database.bulk_work.rerun(bulk, "e1", again, limits) is True
    repeated = replace(again, execution_id="third")
    assert await database.bulk_work.rerun(bulk, "e1", repeated, NO_LIMITS) is False
    assert await item(database, "e1") == ("succeeded", "again")
    second = submission("second", rerun_of="e2")
    with pytest.raises(QueueFullError):
        await database.bulk_work.rerun(bulk, "e2", second, limits)
    assert await item(database, "e2") == ("pending", None)
    assert {row.executionId for row in await rows(database, runs)} == {"e1", "e2", "again"}
    of_organization = replace(second, organization_id="a")
    for number, most in enumerate((1, 2)):
        limits = PendingLimits(MANY, most)
        submitted = submission(f"full-{number}", organization_id="a")
        await database.submissions.submit(submitted)
        with pytest.raises(QueueFullError):
            await database.bulk_work.rerun(bulk, "e2", of_organization, limits)


@on_sqlite
async def test_an_execution_is_cancelled_once(database: Database) -> None:
    await run(database, "ended")
    await database.submissions.submit(submission("running"))
    await claim(database)
    await database.submissions.submit(submission("pending"))
    bulk = await claimed(database, "cancel", "ended", "running", "pending", "unknown")
    assert await database.bulk_work.cancel(bulk, "running") == ["running"]
    assert await database.bulk_work.cancel(bulk, "running") == []
    assert await database.bulk_work.cancel(bulk, "pending") == []
    assert await status(database, "pending") == ExecutionStatus.CANCELLED
    with pytest.raises(ConflictError, match="ended already"):
        await database.bulk_work.cancel(bulk, "ended")
    with pytest.raises(ExecutionNotFoundError):
        await database.bulk_work.cancel(bulk, "unknown")
    assert await item(database, "ended") == ("pending", None)
    assert await item(database, "running") == ("succeeded", None)


@on_sqlite
async def test_only_an_ended_execution_is_deleted(database: Database) -> None:
    await run(database, "ended")
    await run(database, "kept")
    await database.submissions.submit(submission("pending"))
    await database.submissions.submit(submission("elsewhere"))
    # Another program has ended it, but the service has not settled it.
    own_row = executions.c.id == "elsewhere"
    await write(database, update(executions).where(own_row).values(status="failed"))
    bulk = await claimed(database, "delete", "ended", "pending", "elsewhere")
    await database.bulk_work.delete(bulk, "ended")
    await database.bulk_work.delete(bulk, "ended")
    await database.bulk_work.delete(bulk, "kept")
    for execution_id in ("pending", "elsewhere"):
        with pytest.raises(ConflictError, match="has not ended"):
            await database.bulk_work.delete(bulk, execution_id)
        assert await item(database, execution_id) == ("pending", None)
    found = {row.id for row in await rows(database, executions)}
    assert found == {"kept", "pending", "elsewhere"}


@on_sqlite
async def test_an_operation_changes_executions_of_its_organization_only(
    database: Database,
) -> None:
    await run(database, "own", organization_id="a")
    await run(database, "other", organization_id="b")
    foreign = {"workflowId": "w", "status": "failed", "organizationId": "a"}
    await write(database, executions.insert().values(id="foreign", **foreign))
    bulk = await claimed(database, "delete", "own", "other", organization_id="a")
    work = database.bulk_work
    await work.require_organization(bulk, "own")
    for execution_id in ("other", "foreign", "unknown", "own\0"):
        with pytest.raises(ExecutionNotFoundError):
            await work.require_organization(bulk, execution_id)
    with pytest.raises(ExecutionNotFoundError):
        await work.delete(bulk, "other")
    await work.require_organization(replace(bulk, organization_id=None), "other")


@on_sqlite
async def test_completed_operations_are_deleted_with_their_items(
    database: Database, clock: MovingClock
) -> None:
    for bulk_id in ("old", "new"):
        await database.bulk.create(request(id=bulk_id, ids=("e",)))
        bulk = await database.bulk_work.claim("me", 9, LEASE)
        assert bulk is not None
        await database.bulk_work.fail(bulk, "e", "gone")
        await database.bulk_work.claim("me", 9, LEASE)
        clock.advance(1)
    await database.bulk.create(request(id="open", ids=("e",)))
    await database.bulk.delete_completed("2026-01-01T00:00:00.000Z")
    assert len(await rows(database, bulk_operations)) == 3
    await database.bulk.delete_completed("2026-01-01T00:00:01.000Z")
    await database.bulk.delete_completed("2026-01-01T00:00:01.000Z")
    assert {row.id for row in await rows(database, bulk_operations)} == {"new", "open"}
    assert {row.bulkId for row in await rows(database, bulk_items)} == {"new", "open"}
