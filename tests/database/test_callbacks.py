"""Callbacks: when they are due, which worker sends them, and when they are abandoned."""

import asyncio

import pytest

from database import Database
from database.executions.callbacks import AttemptFailure, CallbackAttempt
from database.executions.inputs import Submission
from database.executions.journal_records import ExecutionResult
from engine.errors import ExecutionNotFoundError, LeaseLostError
from engine.outcome import Progress
from engine.status import ExecutionStatus
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN, callback_of

HOUR, DAY = 3_600.0, 86_400.0
LEASE = 30.0
FAILURE = AttemptFailure("the receiver returned 500", 500)


async def submit(
    database: Database, execution_id: str, url: str | None = "http://a.example/"
) -> None:
    await database.submissions.submit(
        Submission(
            execution_id=execution_id,
            workflow_id="w",
            workflow_name="A workflow",
            organization_id=None,
            document="{}",
            inputs=None,
            total_nodes=1,
            callback_url=url,
        )
    )


async def end(database: Database, status: ExecutionStatus = ExecutionStatus.COMPLETED) -> str:
    (run,) = await database.queue.claim("me", 1, LEASE)
    error = "it broke" if status == ExecutionStatus.FAILED else None
    ending = ExecutionResult(status, Progress(1, 1, 0, 0), error, "{}", "{}")
    await database.journal.finish(run.lease, BEGUN, ending)
    return run.lease.execution_id


async def ended(
    database: Database, execution_id: str = "e", url: str = "http://a.example/"
) -> None:
    await submit(database, execution_id, url)
    assert await end(database) == execution_id


async def claim(database: Database, owner: str = "me", host: str = "a.example") -> CallbackAttempt:
    delivery = await database.callbacks.claim(owner, host, LEASE)
    assert delivery is not None
    return delivery


async def test_a_callback_is_not_due_before_the_end(database: Database) -> None:
    await submit(database, "e")
    assert await database.callbacks.due_by_host() == {}
    assert await database.callbacks.claim("me", "a.example", LEASE) is None
    await end(database)
    assert await database.callbacks.due_by_host() == {"a.example": 1}
    assert await database.find_violations(service_runs=True) == []


@pytest.mark.parametrize("status", [ExecutionStatus.FAILED, ExecutionStatus.CANCELLED])
async def test_every_end_makes_the_callback_due(
    database: Database, status: ExecutionStatus
) -> None:
    await submit(database, "e")
    await end(database, status)
    assert await database.callbacks.due_by_host() == {"a.example": 1}


async def test_a_callback_is_due_when_a_pending_execution_is_cancelled(database: Database) -> None:
    await submit(database, "e")
    await database.queue.request_cancel("e")
    assert await database.callbacks.due_by_host() == {"a.example": 1}


async def test_a_callback_is_due_when_the_execution_is_abandoned(database: Database) -> None:
    await submit(database, "e")
    (run,) = await database.queue.claim("me", 1, LEASE)
    await database.journal.abandon(run.lease, "it crashed too often")
    assert await database.callbacks.due_by_host() == {"a.example": 1}


async def test_an_execution_without_a_callback_has_no_row(database: Database) -> None:
    await submit(database, "e", None)
    await end(database)
    assert await database.callbacks.due_by_host() == {}
    assert await callback_of(database, "e") is None


async def test_a_delivered_callback_is_not_sent_again(
    database: Database, clock: MovingClock
) -> None:
    await ended(database)
    delivery = await claim(database)
    assert (delivery.execution_id, delivery.attempt) == ("e", 1)
    assert (delivery.url, delivery.workflow_name) == ("http://a.example/", "A workflow")
    clock.advance(1)
    await database.callbacks.record_delivery(delivery, 204)
    clock.advance(2 * DAY)
    assert await database.callbacks.due_by_host() == {}
    status = await callback_of(database, "e")
    assert status is not None
    assert (status.delivered_at, status.last_status) == ("2026-01-01T00:00:01.000Z", 204)
    assert (status.attempts, status.next_attempt_at, status.last_error) == (1, None, None)
    assert await database.find_violations(service_runs=True) == []


async def test_a_callback_is_claimed_again_only_after_the_lease(
    database: Database, clock: MovingClock
) -> None:
    await ended(database)
    first = await claim(database, "one")
    status = await callback_of(database, "e")
    assert status is not None
    assert status.next_attempt_at is None
    assert await database.callbacks.claim("two", "a.example", LEASE) is None
    clock.advance(LEASE - 1)
    assert await database.callbacks.due_by_host() == {}
    clock.advance(1)
    second = await claim(database, "two")
    assert second.attempt == 2
    for late in (
        database.callbacks.record_delivery(first, 200),
        database.callbacks.record_failure(first, FAILURE, 5),
    ):
        with pytest.raises(LeaseLostError):
            await late
    await database.callbacks.record_delivery(second, 200)


async def test_concurrent_claims_return_each_callback_once(database: Database) -> None:
    for i in range(5):
        await ended(database, f"e{i}")
    claims = [database.callbacks.claim(f"s{i}", "a.example", LEASE) for i in range(12)]
    claimed = [delivery.execution_id for delivery in await asyncio.gather(*claims) if delivery]
    assert sorted(claimed) == sorted(set(claimed))
    assert set(claimed) == {f"e{i}" for i in range(5)}


async def test_a_failed_attempt_is_repeated_after_its_delay(
    database: Database, clock: MovingClock
) -> None:
    await ended(database)
    due = await database.callbacks.record_failure(await claim(database), FAILURE, 5)
    assert due == "2026-01-01T00:00:05.000Z"
    status = await callback_of(database, "e")
    assert status is not None
    assert (status.next_attempt_at, status.last_status, status.last_error) == (
        due,
        500,
        "the receiver returned 500",
    )
    clock.advance(4.9)
    assert await database.callbacks.due_by_host() == {}
    clock.advance(0.1)
    assert (await claim(database)).attempt == 2


async def test_the_last_attempt_is_made_a_day_after_the_end(
    database: Database, clock: MovingClock
) -> None:
    await ended(database)
    clock.advance(DAY - 10)
    due = await database.callbacks.record_failure(await claim(database), FAILURE, HOUR)
    assert due == "2026-01-02T00:00:00.000Z"
    clock.advance(10)
    assert await database.callbacks.record_failure(await claim(database), FAILURE, HOUR) is None
    status = await callback_of(database, "e")
    assert status is not None
    assert (status.abandoned_at, status.next_attempt_at) == ("2026-01-02T00:00:00.000Z", None)
    assert (status.attempts, status.last_error) == (2, "the receiver returned 500")
    clock.advance(DAY)
    assert await database.callbacks.due_by_host() == {}
    assert await database.find_violations(service_runs=True) == []


async def test_a_final_failure_abandons_the_callback_at_once(database: Database) -> None:
    await ended(database)
    gone = AttemptFailure("the receiver returned 410", 410, is_final=True)
    assert await database.callbacks.record_failure(await claim(database), gone, 5) is None
    assert await database.callbacks.due_by_host() == {}


async def test_a_clock_that_is_set_back_keeps_nothing_waiting(
    database: Database, clock: MovingClock
) -> None:
    await ended(database)
    await database.callbacks.record_failure(await claim(database), FAILURE, HOUR)
    clock.advance(-30 * DAY)
    assert await database.callbacks.due_by_host() == {"a.example": 1}
    assert (await claim(database)).attempt == 2


async def test_hosts_are_separate_and_the_oldest_callback_is_first(
    database: Database, clock: MovingClock
) -> None:
    for i, url in enumerate(("http://B.example:81/x", "http://a.example/", "http://a.example/y")):
        await ended(database, f"e{i}", url)
        clock.advance(1)
    assert list((await database.callbacks.due_by_host()).items()) == [
        ("b.example:81", 1),
        ("a.example", 2),
    ]
    assert (await claim(database)).execution_id == "e1"
    assert (await claim(database, host="b.example:81")).execution_id == "e0"


async def test_the_status_does_not_contain_the_query(database: Database) -> None:
    await ended(database, url="https://a.example/x/y?token=secret#part")
    status = await callback_of(database, "e")
    assert status is not None
    assert status.url == "https://a.example/x/y"
    assert (await claim(database)).url.endswith("?token=secret#part")


async def test_an_execution_is_deleted_with_its_callback_after_the_delivery(
    database: Database, clock: MovingClock
) -> None:
    await ended(database, "open")
    await ended(database, "delivered", "http://b.example/")
    await database.callbacks.record_delivery(await claim(database, host="b.example"), 200)
    clock.advance(10)
    assert await database.retention.delete_expired(None, 0) == 1
    assert await callback_of(database, "delivered") is None
    assert await callback_of(database, "open") is not None
    assert await database.retention.delete_expired(None, 0) == 0
    await database.callbacks.record_delivery(await claim(database), 200)
    assert await database.retention.delete_expired(None, 0) == 1
    assert await callback_of(database, "open") is None


async def test_hosts_are_served_in_the_order_of_their_oldest_callbacks(
    database: Database, clock: MovingClock
) -> None:
    for execution_id, url in (
        ("e1", "http://b.example/"),
        ("e2", "http://a.example/x"),
        ("e3", "http://B.example/y"),
    ):
        await ended(database, execution_id, url)
        clock.advance(1)
    due = await database.callbacks.due_by_host()
    assert list(due.items()) == [("b.example", 2), ("a.example", 1)]
    assert (await claim(database, host="b.example")).execution_id == "e1"
    due = await database.callbacks.due_by_host()
    assert list(due.items()) == [("a.example", 1), ("b.example", 1)]


async def test_a_dropped_callback_is_deleted_and_no_other_one(database: Database) -> None:
    await ended(database, "e1")
    await ended(database, "e2", "http://b.example/")
    attempt = await claim(database)
    await database.callbacks.drop(attempt)
    assert await callback_of(database, "e1") is None
    assert await callback_of(database, "e2") is not None
    with pytest.raises(ExecutionNotFoundError):
        await database.callbacks.record_delivery(attempt, 200)


async def test_an_attempt_changes_its_own_callback_only(
    database: Database, clock: MovingClock
) -> None:
    for number in range(4):
        await ended(database, f"e{number}", f"http://h{number}.example/")
    attempts = [await claim(database, host=f"h{number}.example") for number in range(4)]
    before = [await callback_of(database, f"e{number}") for number in range(4)]
    clock.advance(1)
    await database.callbacks.record_delivery(attempts[0], 204)
    assert await database.callbacks.record_failure(attempts[1], FAILURE, 5) is not None
    final = AttemptFailure("gone", 410, is_final=True)
    assert await database.callbacks.record_failure(attempts[2], final, 5) is None
    after = [await callback_of(database, f"e{number}") for number in range(4)]
    assert after[3] == before[3]
    assert [each and each.last_status for each in after] == [204, 500, 410, None]
    assert [bool(each and each.delivered) for each in after] == [True, False, False, False]
    assert [bool(each and each.abandoned_at) for each in after] == [False, False, True, False]
