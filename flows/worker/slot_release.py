"""Slot release: executions that only wait for permits leave their slots to others."""

import asyncio
from collections import Counter

import structlog

from database import Database
from engine.errors import StorageError
from flows.worker.state import WorkerState

log = structlog.get_logger()

SECONDS_PER_SLOT = 0.01
"""Time for which a request may keep a slot, in seconds for each slot of the worker, so that a
backlog of executions that wait for one permit leaves the slots at 100 executions per second."""
MIN_WAIT_SECONDS = 0.1
MAX_WAIT_SECONDS = 1.0
"""Maximum time for which a request keeps a slot that another execution needs, in seconds. Parking
costs more than a short wait."""


async def release_slots_forever(database: Database, state: WorkerState, slots: int) -> None:
    """Let executions park that only wait for permits, while another one needs a slot.

    ``slots`` is the maximum number of executions of this worker.
    """
    waits = state.permit_waits
    seconds = min(MAX_WAIT_SECONDS, max(MIN_WAIT_SECONDS, SECONDS_PER_SLOT * slots))
    while True:
        await waits.has_turns.wait()
        await asyncio.sleep(seconds)
        if not waits.turns:
            waits.has_turns.clear()
        elif len(state.active) >= slots:
            try:
                if await database.permits.has_claimable():
                    _request_slots(state, asyncio.get_running_loop().time() - seconds)
            except StorageError as error:
                log.warning("database_unavailable", operation="slot_release", reason=str(error))


def _request_slots(state: WorkerState, before: float) -> None:
    """Let the executions park whose node runs all wait for permits since ``before``."""
    turns = [turn for turn in state.permit_waits.turns.values() if turn.since <= before]
    for execution_id, number in Counter(turn.execution_id for turn in turns).items():
        signals = state.active.get(execution_id)
        if signals is not None and number == signals.in_flight:
            signals.request_slot()
