"""Process pool in virtual time: single-node runs in its processes, and their metrics."""

import asyncio
from typing import Any, cast

from engine.document import Node
from flows.nodes.node_runner import NodeRunner
from flows.nodes.preview import NodePreview
from flows.processes.messages import Kind
from flows.processes.process_pool import METRICS_TIMEOUT_SECONDS, READY_TIMEOUT_SECONDS
from metric_families import export_families
from metrics import Metrics
from tests.support.fake_processes import FakePool, now, settle
from tests.support.virtual_time import in_virtual_time


def preview_of(node_id: str) -> NodePreview:
    return NodePreview(Node(node_id, "code", "Code", {}), {"n": 1}, cast("NodeRunner", None))


# Single-node runs


@in_virtual_time
async def test_a_node_runs_in_the_process_with_the_fewest_node_runs() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        previews = [preview_of(name) for name in "abc"]
        runs = [asyncio.create_task(pool.pool.run_preview(preview)) for preview in previews]
        await settle()
        assert [request["node"]["id"] for request in first.requests] == ["a", "c"]
        assert [request["node"]["id"] for request in second.requests] == ["b"]
        assert first.requests[0]["kind"] == Kind.RUN_NODE
        assert first.requests[0]["inputData"] == {"n": 1}
        for process in (first, second):
            for request in process.requests:
                node_id, run_id = request["node"]["id"], request["id"]
                error = "broken" if node_id == "b" else None
                result = None if error else {"of": node_id}
                process.send(Kind.NODE_ENDED, id=run_id, result=result, error=error)
        await asyncio.gather(*runs)
        assert [preview.result for preview in previews] == [{"of": "a"}, None, {"of": "c"}]
        assert [preview.error for preview in previews] == [None, "broken", None]
        assert (first.node_runs, second.node_runs) == (0, 0)


@in_virtual_time
async def test_the_end_of_a_process_ends_its_node_runs_and_not_those_of_others() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        one, other = preview_of("one"), preview_of("other")
        runs = [asyncio.create_task(pool.pool.run_preview(preview)) for preview in (one, other)]
        await settle()
        first.exit()
        await runs[0]
        assert one.result is None
        assert one.error is not None
        assert "has ended" in one.error
        assert not runs[1].done()
        (request,) = second.requests
        second.send(Kind.NODE_ENDED, id=request["id"], result={"a": 1}, error=None)
        second.send(Kind.NODE_ENDED, id=request["id"], result={"a": 2}, error=None)
        await runs[1]
        assert other.result == {"a": 1}


@in_virtual_time
async def test_a_node_waits_for_a_process_for_thirty_seconds() -> None:
    async with FakePool(1, ready=False) as pool:
        preview = preview_of("a")
        await pool.pool.run_preview(preview)
        assert now() == READY_TIMEOUT_SECONDS
        assert preview.error == "no execution process is running; try again"
        later = preview_of("b")
        run = asyncio.create_task(pool.pool.run_preview(later))
        await settle()
        pool.processes[0].send(Kind.OWNER, owner="a")
        await settle()
        (request,) = pool.processes[0].requests
        pool.processes[0].send(Kind.NODE_ENDED, id=request["id"], result={}, error=None)
        await run
        assert later.error is None


@in_virtual_time
async def test_a_node_waits_again_after_the_last_process_has_ended() -> None:
    async with FakePool(2) as pool:
        first, second = pool.processes
        first.exit()
        await settle()
        assert pool.pool._ready.is_set()
        second.exit()
        await settle()
        preview = preview_of("a")
        await pool.pool.run_preview(preview)
        assert preview.error == "no execution process is running; try again"


# Metrics


def families(completed: int) -> Any:
    metrics = Metrics()
    for _ in range(completed):
        metrics.execution_ended("completed")
    return export_families(metrics.registry)


def total(found: Any) -> float:
    return sum(
        value
        for _, _, _, samples in found
        for name, _, value in samples
        if name == "workflow_executions_ended_total"
    )


@in_virtual_time
async def test_metrics_are_requested_from_ready_processes_and_added() -> None:
    async with FakePool(3, ready=False) as pool:
        first, second, starting = pool.processes
        first.send(Kind.OWNER, owner="a")
        second.send(Kind.OWNER, owner="b")
        reading = asyncio.create_task(pool.pool.families())
        await settle()
        assert [process.wakes for process in pool.processes] == [[Kind.COLLECT]] * 2 + [[]]
        first.send(Kind.METRICS, families=families(2))
        await settle()
        assert not reading.done()
        second.send(Kind.METRICS, families=families(3))
        assert total(await reading) == 5
        assert now() == 0
        # One process does not respond, and the other one ends.
        reading = asyncio.create_task(pool.pool.families())
        await settle()
        first.exit()
        assert total(await reading) == 5
        assert now() == METRICS_TIMEOUT_SECONDS
        assert starting.wakes == []


@in_virtual_time
async def test_the_end_of_a_process_ends_the_wait_for_its_metrics() -> None:
    async with FakePool(1) as pool:
        pool.processes[0].send(Kind.METRICS, families=families(4))
        reading = asyncio.create_task(pool.pool.families())
        await settle()
        pool.processes[0].exit()
        assert total(await reading) == 4
        assert now() == 0
