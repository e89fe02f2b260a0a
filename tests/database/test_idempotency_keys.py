"""Idempotency keys: a key belongs to one execution for a limited time."""

import pytest

from database.executions.inputs import IdempotencyKey
from database.executions.submissions import IDEMPOTENCY_KEY_TTL_HOURS
from database.tables import idempotency_keys
from engine.errors import IdempotencyKeyReusedError
from tests.support.call_trees import rows
from tests.support.fake_clock import MovingClock
from tests.support.two_workers import Workers


async def test_an_idempotency_key_is_free_again_after_its_time(
    workers: Workers, clock: MovingClock
) -> None:
    first, second = workers
    key, other = IdempotencyKey("", "k", "same"), IdempotencyKey("", "k", "other")
    await first.submit("e1", idempotency=key)
    clock.advance(IDEMPOTENCY_KEY_TTL_HOURS * 3_600 - 1)
    assert await second.database.submissions.find_by_key(key) == "e1"
    with pytest.raises(IdempotencyKeyReusedError):
        await second.database.submissions.find_by_key(other)
    clock.advance(1)
    for each in (key, other):
        assert await second.database.submissions.find_by_key(each) is None
    assert await second.submit("e2", idempotency=other) == "e2"
    assert await first.database.submissions.find_by_key(other) == "e2"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_only_keys_after_their_time_are_deleted(workers: Workers, clock: MovingClock) -> None:
    first, second = workers

    async def keys() -> list[str]:
        return [row.key for row in await rows(first.database, idempotency_keys)]

    await first.submit("e1", idempotency=IdempotencyKey("", "old", "same"))
    clock.advance(0.001)
    await first.submit("e2", idempotency=IdempotencyKey("", "new", "same"))
    clock.advance(IDEMPOTENCY_KEY_TTL_HOURS * 3_600 - 0.001)
    await second.database.retention.delete_expired_keys()
    assert sorted(await keys()) == ["new", "old"]
    clock.advance(0.001)
    await second.database.retention.delete_expired_keys()
    assert await keys() == ["new"]
