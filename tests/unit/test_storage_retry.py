"""Storage retry: short pauses during an outage of any length, and errors that are not retried."""

import asyncio
from itertools import pairwise

import pytest

from engine.errors import LeaseLostError, StorageBusyError
from flows.storage_retry import retry_while_unavailable
from tests.support.virtual_time import run

HOUR = 3_600.0
MAX_PAUSE_SECONDS = 5.0


class Outage:
    """An operation that fails until an hour has passed."""

    def __init__(self) -> None:
        self.attempts: list[float] = []

    async def write(self) -> str:
        now = asyncio.get_running_loop().time()
        self.attempts.append(now)
        if now < HOUR:
            raise StorageBusyError("the database is locked")
        return "stored"

    @property
    def pauses(self) -> list[float]:
        return [round(later - earlier, 6) for earlier, later in pairwise(self.attempts)]


def test_pauses_stay_short_during_an_outage_of_an_hour() -> None:
    outage = Outage()
    assert run(retry_while_unavailable(outage.write, "write")) == "stored"
    assert outage.pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_PAUSE_SECONDS]
    assert set(outage.pauses[7:]) == {MAX_PAUSE_SECONDS}
    assert outage.attempts[-1] < HOUR + MAX_PAUSE_SECONDS


def test_a_caller_that_gives_up_gets_the_error_of_the_last_attempt() -> None:
    outage = Outage()
    with pytest.raises(StorageBusyError):
        run(retry_while_unavailable(outage.write, "write", lambda: len(outage.attempts) == 4))
    assert outage.pauses == [0.1, 0.2, 0.4]


def test_other_errors_are_not_retried() -> None:
    attempts: list[str] = []

    async def lose() -> None:
        attempts.append("attempt")
        raise LeaseLostError("e")

    with pytest.raises(LeaseLostError):
        run(retry_while_unavailable(lose, "write"))
    assert attempts == ["attempt"]
