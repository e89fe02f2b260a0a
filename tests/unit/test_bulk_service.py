"""Bulk service: batches, its searches for operations, and executions that cannot be treated now."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from database.bulk.records import BulkReceipt, BulkRequest, ClaimedBulk
from database.schedules.records import PendingLimits
from engine.errors import (
    ExecutionNotFoundError,
    QueueFullError,
    StorageUnavailableError,
)
from flows.intake.bulk import BulkService
from flows.intake.reruns import RerunService
from tests.support.scripted_database import ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

BUSY = StorageUnavailableError("busy")


class Bulk:
    """The bulk operations of one service."""

    def __init__(
        self, claims: list[Any], poll_seconds: float = 10, lease_seconds: float = 30, **answers: Any
    ) -> None:
        self.database = ScriptedDatabase(bulk_work__claim=claims, **answers)
        for name in ("bulk", "bulk_work"):
            self.database.add(name)
        self.woken = 0
        self.cancelled: list[str] = []
        worker = SimpleNamespace(wake=self._wake, cancel=self.cancelled.append)
        submissions = SimpleNamespace(database=self.database, worker=worker)
        reruns = cast("RerunService", SimpleNamespace(submissions=submissions))
        self.service = BulkService(reruns, PendingLimits(10, 10), poll_seconds, lease_seconds)

    def _wake(self) -> None:
        self.woken += 1

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments[1:] for arguments in self.database.arguments[f"bulk_work.{name}"]]


def claimed(action: Any, *ids: str) -> ClaimedBulk:
    return ClaimedBulk("b1", "w", action, "org", "original", list(ids))


@in_virtual_time
async def test_the_executions_of_an_operation_are_treated_in_batches() -> None:
    batches = [claimed("cancel", "a", "b"), claimed("cancel", "c"), claimed("cancel"), None]
    bulk = Bulk(batches, bulk_work__cancel=[["child"], [], []])
    await run_for(25, bulk.service.run_forever())
    assert bulk.database.times("bulk_work.claim") == [0, 0, 0, 0, 10, 20]
    assert {arguments[1:] for arguments in bulk.database.arguments["bulk_work.claim"]} == {(20, 30)}
    assert bulk.called("cancel") == [("a",), ("b",), ("c",)]
    assert sorted(bulk.cancelled) == ["a", "b", "c", "child"]
    assert bulk.called("release") == [(0,), (0,)]
    assert bulk.woken == 2
    assert bulk.called("delete") == bulk.called("fail") == []
    oldest = bulk.database.arguments["bulk.delete_completed"]
    assert oldest[0] == ("2025-12-02T00:00:00.000Z",)
    assert len(oldest) == 3


@in_virtual_time
async def test_a_new_operation_starts_at_once() -> None:
    bulk = Bulk([None], bulk__create=[BulkReceipt("b1", 3)])
    running = asyncio.ensure_future(run_for(9, bulk.service.run_forever()))
    await asyncio.sleep(4)
    request = cast("BulkRequest", object())
    assert await bulk.service.create(request) == BulkReceipt("b1", 3)
    await running
    assert bulk.database.times("bulk_work.claim") == [0, 4]


@pytest.mark.parametrize(
    ("error", "released", "times", "failed"),
    [
        (QueueFullError(1, "MAX_PENDING_EXECUTIONS"), 1.0, [0, 10], 0),
        (BUSY, 0, [0, 10], 0),
        (ExecutionNotFoundError("a"), 0, [0, 0, 10], 1),
        (ValueError("broken"), 0, [0, 10], 0),
    ],
)
@in_virtual_time
async def test_an_execution_that_cannot_be_treated_now_is_still_pending(
    error: Exception, released: float, times: list[float], failed: int
) -> None:
    bulk = Bulk([claimed("delete", "a", "b"), None], bulk_work__delete=[error, None])
    await run_for(15, bulk.service.run_forever())
    assert bulk.called("delete") == [("a",), ("b",)]
    assert bulk.called("release") == [(released,)]
    assert bulk.database.times("bulk_work.claim") == times
    assert len(bulk.called("fail")) == failed
    assert bulk.cancelled == []


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (None, [0, 0, 10, 20]),
        (QueueFullError(1, "MAX_PENDING_EXECUTIONS"), [0, 1, 11, 21]),
        (BUSY, [0, 1, 11, 21]),
    ],
)
@in_virtual_time
async def test_without_operations_a_service_searches_four_times_for_each_lease(
    error: Exception | None, times: list[float]
) -> None:
    batches = [claimed("delete", "a"), None]
    bulk = Bulk(batches, poll_seconds=1, lease_seconds=40, bulk_work__delete=[error])
    await run_for(25, bulk.service.run_forever())
    assert bulk.database.times("bulk_work.claim") == times
