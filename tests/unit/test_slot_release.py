"""Slot release in virtual time: which executions park while they wait for permits, and when."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.errors import StorageUnavailableError
from flows.execution.signals import ExecutionSignals
from flows.nodes.permits import Turn
from flows.worker.maintenance import run_maintenance_forever
from flows.worker.slot_release import release_slots_forever
from flows.worker.state import WorkerState
from tests.support.scripted_database import ScriptedDatabase, run_for
from tests.support.virtual_time import in_virtual_time

HAS_CLAIMABLE = "permits.has_claimable"
SLOTS = 20
WAIT = 0.2
"""Time for which a request keeps one of 20 slots, in seconds."""


def worker_of(*ids: str) -> WorkerState:
    """Return a worker without free slots; each of its executions has one node run in flight."""
    others = [f"other {number}" for number in range(SLOTS - len(ids))]
    state = WorkerState(active={id_: ExecutionSignals() for id_ in (*ids, *others)})
    for signals in state.active.values():
        signals.in_flight = 1
    return state


def wait_for_permit(state: WorkerState, execution_id: str, request: str | None = None) -> None:
    loop = asyncio.get_running_loop()
    turn = Turn(execution_id, loop.time(), loop.create_future())
    state.permit_waits.turns[request or execution_id] = turn
    state.permit_waits.has_turns.set()


def parked(state: WorkerState) -> list[str]:
    return [id_ for id_, signals in state.active.items() if signals.slot_wanted]


@in_virtual_time
async def test_an_execution_that_waits_for_a_permit_leaves_its_slot_to_another_one() -> None:
    database, state = ScriptedDatabase(permits__has_claimable=[True]), worker_of("a", "b")
    wait_for_permit(state, "a")
    await run_for(WAIT, release_slots_forever(database.typed, state, SLOTS))
    assert parked(state) == []
    await run_for(WAIT + 0.01, release_slots_forever(database.typed, state, SLOTS))
    assert parked(state) == ["a"]


@pytest.mark.parametrize(
    ("slots", "first"), [(1, 0.1), (10, 0.1), (20, 0.2), (100, 1.0), (1000, 1.0)]
)
@in_virtual_time
async def test_a_request_keeps_its_slot_longer_if_there_are_more_slots(
    slots: int, first: float
) -> None:
    database = ScriptedDatabase()
    state = WorkerState(active={str(number): ExecutionSignals() for number in range(slots)})
    wait_for_permit(state, "0")
    await run_for(5.05, release_slots_forever(database.typed, state, slots))
    times = database.times(HAS_CLAIMABLE)
    assert times[:2] == [first, 2 * first]
    assert len(times) == int(5.05 / first)


@in_virtual_time
async def test_no_slot_is_released_without_an_execution_that_needs_it() -> None:
    database, state = ScriptedDatabase(permits__has_claimable=[False]), worker_of("a")
    wait_for_permit(state, "a")
    await run_for(1, release_slots_forever(database.typed, state, SLOTS))
    assert database.times(HAS_CLAIMABLE)
    assert parked(state) == []


@in_virtual_time
async def test_a_worker_with_a_free_slot_reads_nothing() -> None:
    database, state = ScriptedDatabase(permits__has_claimable=[True]), worker_of("a")
    del state.active["other 0"]
    wait_for_permit(state, "a")
    await run_for(5, release_slots_forever(database.typed, state, SLOTS))
    assert database.calls == []
    assert parked(state) == []


@in_virtual_time
async def test_nothing_is_read_before_a_request_waits_and_after_the_last_one() -> None:
    database, state = ScriptedDatabase(permits__has_claimable=[False]), worker_of("a")
    loop = asyncio.get_running_loop()
    loop.call_at(10, wait_for_permit, state, "a")
    loop.call_at(10.5, state.permit_waits.turns.clear)
    wakes: list[float] = []
    wait = state.permit_waits.has_turns.wait

    async def record() -> Any:
        result = await wait()
        wakes.append(round(loop.time(), 3))
        return result

    state.permit_waits.has_turns.wait = record  # type: ignore[method-assign]
    await run_for(20, release_slots_forever(database.typed, state, SLOTS))
    assert database.times(HAS_CLAIMABLE) == [10.2, 10.4]
    assert wakes == [10, 10.2, 10.4]
    assert not state.permit_waits.has_turns.is_set()


@in_virtual_time
async def test_only_executions_park_whose_node_runs_all_wait_for_long_enough() -> None:
    database, state = ScriptedDatabase(permits__has_claimable=[True]), worker_of("a", "b", "c", "d")
    state.active["b"].in_flight = state.active["c"].in_flight = 2
    wait_for_permit(state, "a")
    wait_for_permit(state, "b")
    wait_for_permit(state, "c", "c1")
    wait_for_permit(state, "c", "c2")
    wait_for_permit(state, "ended")
    asyncio.get_running_loop().call_later(0.1, wait_for_permit, state, "d")
    await run_for(0.25, release_slots_forever(database.typed, state, SLOTS))
    assert parked(state) == ["a", "c"]


@in_virtual_time
async def test_slots_are_released_again_after_an_error_of_the_database() -> None:
    busy = StorageUnavailableError("busy")
    database, state = ScriptedDatabase(permits__has_claimable=[busy, True]), worker_of("a")
    wait_for_permit(state, "a")
    await run_for(0.5, release_slots_forever(database.typed, state, SLOTS))
    assert database.times(HAS_CLAIMABLE) == [0.2, 0.4]
    assert parked(state) == ["a"]


@pytest.mark.parametrize("deleted", [0, 140])
@in_virtual_time
async def test_maintenance_logs_the_number_of_deleted_executions(deleted: int) -> None:
    batches = [deleted, 0] if deleted else [0]
    database = ScriptedDatabase(retention__delete_expired=batches)
    with capture_logs() as logs:
        await run_for(0.5, run_maintenance_forever(database.typed, 1.0, None))
    counts = [event["count"] for event in logs if event["event"] == "executions_pruned"]
    assert counts == ([deleted] if deleted else [])
