"""Process pool in virtual time: the messages, the signals and the stop of its processes."""

import asyncio

from flows.execution.running_nodes import NODE_CANCEL_TIMEOUT_SECONDS
from flows.processes.messages import Kind
from flows.processes.process_pool import CLAIM_LEAD_SECONDS, STOP_TIMEOUT_SECONDS, ProcessPool
from flows.worker.worker import (
    CLAIM_TIMEOUT_SECONDS,
    RELEASE_TIMEOUT_SECONDS,
    THREAD_JOIN_TIMEOUT_SECONDS,
)
from tests.support.fake_processes import FakePool, FakeProcess, now, settle
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_the_messages_of_a_process_reach_the_service() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        first.send(Kind.COMMITTED)
        first.send(Kind.PUBLISH, executionId="e", message={"type": "delta"})
        assert not pool.state.execution_ended.is_set()
        first.send(Kind.ENDED)
        assert pool.state.execution_ended.is_set()
        first.send(Kind.RELATIVES_CHANGED)
        assert (first.wakes, second.wakes) == ([], [Kind.POLL])
    assert pool.commits == 1
    assert pool.published == [("e", {"type": "delta"})]


@in_virtual_time
async def test_a_process_that_sends_an_unknown_message_is_replaced() -> None:
    async with FakePool(1) as pool:
        pool.processes[0].send("unknown")
        await asyncio.sleep(1)
        assert len(pool.processes) == 2
        assert pool.processes[0].kills == 1
        assert pool.expired == ["owner 0"]


@in_virtual_time
async def test_changed_relatives_are_polled_in_all_processes() -> None:
    async with FakePool(2) as pool:
        pool.state.relatives_changed.set()
        await settle()
        assert [process.wakes for process in pool.processes] == [[Kind.POLL]] * 2
        assert not pool.state.relatives_changed.is_set()


@in_virtual_time
async def test_only_processes_that_are_ready_get_signals() -> None:
    async with FakePool(2, ready=False) as pool:
        first, second = pool.processes
        assert pool.pool.failure == "no execution process is running"
        pool.pool.request_claims()
        pool.pool.request_polls()
        assert (first.wakes, second.wakes) == ([], [])
        second.send(Kind.OWNER, owner="b")
        assert pool.pool.failure is None
        pool.pool.request_claims()
        pool.pool.request_polls()
        await asyncio.sleep(2 * CLAIM_LEAD_SECONDS)
        assert (first.wakes, second.wakes) == ([], [Kind.CLAIM, Kind.POLL])


@in_virtual_time
async def test_a_pool_that_stops_requests_no_claims() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        first.ends = second.ends = False
        stopping = asyncio.create_task(pool.pool.stop(3))
        await settle()
        pool.pool.request_claims()
        await asyncio.sleep(1)
        assert (first.wakes, second.wakes) == ([], [])
        assert (first.stops, second.stops) == ([3], [3])
        first.exit(0)
        second.exit(0)
        await stopping
        assert len(pool.processes) == 2
        # The kill after the end of a process has no effect.
        assert [process.kills for process in pool.processes] == [1, 1]


@in_virtual_time
async def test_a_process_that_does_not_stop_is_killed_after_its_time() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        second.ends = False
        await pool.pool.stop(3)
        assert now() == 3 + STOP_TIMEOUT_SECONDS
        assert second.kills > 0
        assert len(pool.processes) == 2
        assert first.stops == second.stops == [3]


def test_a_process_has_more_time_than_each_step_of_its_stop_may_take() -> None:
    steps = CLAIM_TIMEOUT_SECONDS, NODE_CANCEL_TIMEOUT_SECONDS, RELEASE_TIMEOUT_SECONDS
    assert sum(steps) + THREAD_JOIN_TIMEOUT_SECONDS < STOP_TIMEOUT_SECONDS


@in_virtual_time
async def test_a_pool_that_did_not_start_stops_at_once() -> None:
    await ProcessPool([b""], lambda *_: None, lambda: None).stop(3)
    assert now() == 0


@in_virtual_time
async def test_a_process_that_starts_while_the_pool_stops_is_stopped() -> None:
    pool = FakePool(1)
    may_start = asyncio.Event()
    start = pool._start

    async def start_late(number: int, settings: bytes) -> FakeProcess:
        await may_start.wait()
        return await start(number, settings)

    pool._start = start_late  # type: ignore[method-assign]
    async with pool:
        stopping = asyncio.create_task(pool.pool.stop(3))
        await settle()
        may_start.set()
        await stopping
        assert pool.processes[0].stops[0] == 0
        assert pool.expired == []


@in_virtual_time
async def test_the_pause_before_a_restart_ends_with_the_worker() -> None:
    async with FakePool(1) as pool:
        for _ in range(10):
            pool.processes[-1].exit()
            await asyncio.sleep(31)
        start = now()
        pool.processes[-1].exit()
        await settle()
        stopping = asyncio.create_task(pool.pool.stop(0))
        pool.state.drained.set()
        await stopping
        assert now() == start


@in_virtual_time
async def test_a_cancelled_pool_kills_its_processes() -> None:
    async with FakePool(2) as pool:
        assert pool._running is not None
        for process in pool.processes:
            process.kills = 0
        pool._running.cancel()
        await asyncio.wait([pool._running])
        assert all(process.kills for process in pool.processes)
        pool._running = asyncio.create_task(asyncio.sleep(0))


@in_virtual_time
async def test_the_executions_of_an_ended_process_are_claimed_by_another_one() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        first.owners.append("after a crash of its loop")
        first.exit()
        await settle()
        assert pool.expired == ["owner 0", "after a crash of its loop"]
        assert second.wakes == [Kind.CLAIM]
        assert pool.pool.failure is None


@in_virtual_time
async def test_the_leases_of_a_process_that_claimed_nothing_are_not_ended() -> None:
    async with FakePool(2, ready=False) as pool:
        pool.processes[1].send(Kind.OWNER, owner="b")
        pool.processes[0].exit()
        await settle()
        assert pool.expired == []
        assert pool.processes[1].wakes == []
