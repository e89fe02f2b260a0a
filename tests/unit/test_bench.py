"""Benchmark: the figures and the ratios that it computes from its measurements."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.bare import Bare, summary
from bench.client import BenchError
from bench.comparison import Figures, Result, run_once
from bench.contenders import Contender, Mode, Running
from bench.load import Burst
from bench.polls import PollCost
from bench.report import Report

POLLS = PollCost(0.4, 0.9, 12.0)
BURST = Burst(2.0, [0.1] * 99 + [0.5], [0.01, 0.02, 0.03])


@contextmanager
def not_started(_: Path) -> Generator[Running]:
    raise AssertionError
    yield


def result(name: str, mode: Mode, figures: Figures, reference: str | None = None) -> Result:
    return Result(Contender(name, list(Mode), not_started, reference), mode, figures, 1.5, 140.4)


def report(*results: Result, bare: Bare | None = None) -> Report:
    return Report(results, 7.0, BURST, POLLS, bare)


OURS = result("ours", Mode.POLLED, Figures(30, 14.0, 20.0, 5.0), "DBOS")
DBOS = result("DBOS", Mode.POLLED, Figures(20, 28.0, 40.0, 10.0))


def test_a_ratio_compares_the_same_mode() -> None:
    waiting = result("DBOS", Mode.WAITING, Figures(1, 1.0, 1.0, 1.0))
    (ours, *others) = report(OURS, waiting, DBOS).as_json()["contenders"]
    assert ours["reference"] == "DBOS"
    assert ours["ratios"] == {"perSecond": 1.5, "aloneMs": 0.5, "cpuMs": 0.5, "atOnceSeconds": 0.5}
    assert [other["ratios"] for other in others] == [None, None]


def test_a_result_without_a_reference_has_no_ratio() -> None:
    measured = report(OURS)
    assert measured.as_json()["contenders"][0]["ratios"] is None
    assert "ratio to DBOS" not in measured.table()


def test_the_table_has_every_figure() -> None:
    table = report(OURS, DBOS, bare=Bare(20, 18, 1, 12.0, 9.0)).table()
    assert "| ours, polled | 30 | 20 | 14 | 5 | 140 | 1.5 |" in table
    assert "| ratio to DBOS | 1.5 | 0.5 | 0.5 | 0.5 |  |  |" in table
    assert "7 ms CPU for a flow of ten empty tasks" in table
    assert "needs 2.0 times that" in table
    assert "2/s, 1 failed, 1 lost" in table
    assert "p50 100 ms" in table
    assert "0.4 ms unchanged (304), 0.9 ms with the state" in table


def test_a_figure_that_was_not_measured_is_a_dash() -> None:
    unknown = result("ours", Mode.POLLED, Figures(30, None, 20.0, 5.0), "DBOS")
    assert "| ours, polled | 30 | 20 | - | 5 |" in report(unknown, DBOS).table()
    assert report(unknown, DBOS).as_json()["contenders"][0]["ratios"]["cpuMs"] is None


class FakeApi:
    """A contender whose execution ends at the third poll, or fails."""

    def __init__(self, *states: bool) -> None:
        self.states = iter(states)
        self.modes: list[Mode] = []

    def start(self) -> str:
        return "e"

    def has_ended(self, execution_id: str) -> bool:
        assert execution_id == "e"
        return next(self.states)

    def run(self, mode: Mode) -> None:
        self.modes.append(mode)

    def close(self) -> None:
        pass


def test_a_polled_run_polls_until_the_end() -> None:
    api = FakeApi(False, False, True)
    run_once(api, Mode.POLLED)
    assert list(api.states) == []
    assert api.modes == []


def test_other_modes_wait_in_one_call() -> None:
    api = FakeApi()
    run_once(api, Mode.WAITING)
    assert api.modes == [Mode.WAITING]


def test_an_execution_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.comparison.TIMEOUT_SECONDS", -1.0)
    with pytest.raises(BenchError, match="has not ended"):
        run_once(FakeApi(False), Mode.POLLED)


def ended(at: float, *, completed: bool = True) -> dict[str, Any]:
    return {"event": "ended", "at": at, "completed": completed}


def test_bare_flows_that_never_ended_are_lost() -> None:
    events = [{"event": "ready", "at": 110.0}, ended(112.0), ended(113.0, completed=False)]
    bare = summary(events, flows=5, begun=100.0)
    assert (bare.completed, bare.failed, bare.lost) == (1, 1, 3)
    assert (bare.ready_in, bare.seconds, bare.per_second) == (10.0, 2.0, 0.5)


def test_a_server_that_never_came_loses_them_all() -> None:
    bare = summary([], flows=5, begun=100.0)
    assert (bare.lost, bare.ready_in, bare.per_second) == (5, None, None)
