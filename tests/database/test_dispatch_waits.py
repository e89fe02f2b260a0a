"""Dispatch waits: when a worker of a work pool polls it."""

import asyncio
import time

import pytest

from database import Database
from database.connection.commit_signal import Change
from flows.worker import dispatch_waits
from flows.worker.dispatch_waits import DispatchWaits
from tests.support.calls import NEVER


@pytest.fixture
def database(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(dispatch_waits, "POLL_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(dispatch_waits, "NOTIFIED_POLL_INTERVAL_SECONDS", NEVER)
    return Database(f"sqlite+aiosqlite:///{tmp_path / 'waits.sqlite'}")


async def test_without_notifications_a_worker_polls_at_an_interval(database: Database) -> None:
    await DispatchWaits(database).wait(0)


async def test_a_submission_and_a_free_slot_end_the_wait(database: Database) -> None:
    signal = database.commit_signal
    signal.includes_other_processes = True
    waits = DispatchWaits(database)
    waiting = asyncio.create_task(waits.wait(0))
    signal.send({Change.QUEUE, Change.EVENTS})
    assert await asyncio.wait([waiting], timeout=0.1) == (set(), {waiting})
    signal.send({Change.DISPATCHES})
    await waiting
    again = asyncio.create_task(waits.wait(0))
    assert await asyncio.wait([again], timeout=0.1) == (set(), {again})
    waits.request()
    await again


async def test_a_worker_without_free_slots_polls_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_waits, "MAX_SPREAD_SECONDS", 0.2)
    free, full = DispatchWaits(database), DispatchWaits(database)
    ended: dict[str, float] = {}

    async def poll(name: str, waits: DispatchWaits, load: float) -> None:
        waits.request()
        await waits.wait(load)
        ended[name] = time.monotonic()

    await asyncio.gather(poll("full", full, 1.0), poll("free", free, 0.0))
    assert ended["free"] < ended["full"]
