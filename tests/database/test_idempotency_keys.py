"""Idempotency keys: a key belongs to one execution for a limited time."""

import pytest

from database.executions.inputs import IdempotencyKey
from database.executions.submissions import IDEMPOTENCY_KEY_TTL_HOURS
from engine.errors import IdempotencyKeyReusedError
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
