"""Benchmark: the figures that it computes from its measurements."""

import json
from typing import Any

import pytest

from bench.bare import Bare, summary
from bench.load import Burst, Throughput
from bench.report import Report


def report(bare: Bare | None) -> Report:
    return Report(
        concurrency=10,
        clients=30,
        started_in=1.5,
        burst=Burst(2.0, [0.1] * 99 + [0.5], [0.01, 0.02, 0.03]),
        throughput=Throughput(300, 10.0, 6.0),
        bare=bare,
        peak_memory_mb=140.4,
    )


def ended(at: float, *, completed: bool = True) -> dict[str, Any]:
    return {"event": "ended", "at": at, "completed": completed}


def test_the_ratio_compares_what_completed_in_a_second() -> None:
    figures = json.loads(report(Bare(20, 20, 0, 12.0, 10.0)).json_line())
    assert figures["executionsPerSecond"] == 30
    assert figures["bareFlowsPerSecond"] == 2
    assert figures["ratio"] == 15
    assert figures["cpuMsPerExecution"] == 20
    assert figures["submissionsPerSecond"] == 50
    assert figures["submissionMsP50"] == 100
    assert 100 < figures["submissionMsP99"] <= 500
    assert figures["pollMsP50"] == 20


@pytest.mark.parametrize("bare", [None, Bare(20, 0, 0, None, None), Bare(20, 0, 20, 12.0, None)])
def test_the_ratio_needs_a_bare_flow(bare: Bare | None) -> None:
    measured = report(bare)
    assert measured.figures()["ratio"] is None
    assert "executions of 10 nodes" in measured.table()


def test_bare_flows_that_never_ended_are_lost() -> None:
    events = [{"event": "ready", "at": 110.0}, ended(112.0), ended(113.0, completed=False)]
    bare = summary(events, flows=5, begun=100.0)
    assert (bare.completed, bare.failed, bare.lost) == (1, 1, 3)
    assert (bare.ready_in, bare.seconds, bare.per_second) == (10.0, 2.0, 0.5)


def test_a_server_that_never_came_loses_them_all() -> None:
    bare = summary([], flows=5, begun=100.0)
    assert (bare.lost, bare.ready_in, bare.per_second) == (5, None, None)
