"""Report: formats the measurements as a table for people, and as JSON for programs and the plot."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.bare import Bare
from bench.comparison import AT_ONCE, CLIENTS, EXECUTIONS, Figures, Result
from bench.load import Burst
from bench.polls import PollCost

_MS = 1_000
_HEADINGS = (
    "",
    f"exec/s, {CLIENTS} clients",
    "one alone, ms",
    "CPU, ms",
    f"{AT_ONCE} at once, s",
    "idle RSS, MB",
    "start, s",
)


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one run; ``None`` for a part that was not measured."""

    results: Sequence[Result]
    floor_ms: float
    """Processor time of Prefect's engines for a flow of ten empty tasks, in milliseconds."""
    burst: Burst
    polls: PollCost
    bare: Bare | None

    def as_json(self) -> dict[str, Any]:
        """Return every figure by name, in the unit of its name."""
        return {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "clients": CLIENTS,
            "executions": EXECUTIONS,
            "floorCpuMs": _short(self.floor_ms),
            "submissionsPerSecond": _short(self.burst.per_second),
            "submissionMsP50": _percentile(self.burst.submitting, 50),
            "submissionMsP99": _percentile(self.burst.submitting, 99),
            "unchangedPollCpuMs": _short(self.polls.unchanged_ms),
            "changedPollCpuMs": _short(self.polls.changed_ms),
            "firstNodeMsP50": _short(self.polls.first_node_ms),
            "bareFlowsPerSecond": _short(self.bare.per_second) if self.bare else None,
            "bareFailed": self.bare.failed if self.bare else None,
            "bareLost": self.bare.lost if self.bare else None,
            "contenders": [_result_json(result, self.reference(result)) for result in self.results],
        }

    def reference(self, result: Result) -> Result | None:
        """Return the result with which a result is compared: of the same mode, if there is one."""
        name = result.contender.reference
        return next(
            (r for r in self.results if r.contender.name == name and r.mode == result.mode), None
        )

    def table(self) -> str:
        """Return the figures as a table in Markdown, with a row of ratios where there are any."""
        rows: list[Sequence[str]] = [_HEADINGS, ["---"] * len(_HEADINGS)]
        for result in self.results:
            rows.append(_cells(result))
            reference = self.reference(result)
            if reference is not None:
                rows.append(_ratio_cells(result, reference))
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([*lines, "", *self._sentences()])

    def _sentences(self) -> list[str]:
        ours = [r.figures.cpu_ms for r in self.results if r.contender.name == "ours"]
        cpu = min((value for value in ours if value is not None), default=None)
        to_floor = "-" if cpu is None else f"{cpu / self.floor_ms:.1f}"
        bare = "not measured"
        if self.bare is not None:
            bare = (
                f"{_text(self.bare.per_second)}/s, {self.bare.failed} failed, {self.bare.lost} lost"
            )
        submitting, polls = self.burst.submitting, self.polls
        return [
            f"- Prefect's engines alone: {_text(self.floor_ms)} ms CPU for a flow of ten empty"
            f" tasks. The cheapest mode of this service needs {to_floor} times that.",
            f"- Plain Prefect on its default server, ten at a time: {bare}.",
            f"- {len(submitting)} submissions at a fixed rate while saturated:"
            f" p50 {_text(_percentile(submitting, 50))} ms,"
            f" p99 {_text(_percentile(submitting, 99))} ms; without pauses"
            f" {_text(self.burst.per_second)}/s.",
            f"- CPU of a poll: {_text(polls.unchanged_ms)} ms unchanged (304),"
            f" {_text(polls.changed_ms)} ms with the state.",
            f"- First node starts {_text(polls.first_node_ms)} ms after the submission (median).",
        ]


def _cells(result: Result) -> list[str]:
    figures = result.figures
    return [
        f"{result.contender.name}, {result.mode}",
        _text(figures.per_second),
        _text(figures.alone_ms),
        _text(figures.cpu_ms),
        _text(figures.at_once_seconds),
        _text(result.idle_mb),
        _text(result.started_in),
    ]


def _ratio_cells(result: Result, reference: Result) -> list[str]:
    ratios = _ratios(result.figures, reference.figures)
    values = [ratios["perSecond"], ratios["aloneMs"], ratios["cpuMs"], ratios["atOnceSeconds"]]
    return [f"ratio to {reference.contender.name}", *map(_text, values), "", ""]


def _ratios(ours: Figures, theirs: Figures) -> dict[str, float | None]:
    cpu = None
    if ours.cpu_ms is not None and theirs.cpu_ms:
        cpu = ours.cpu_ms / theirs.cpu_ms
    return {
        "perSecond": _short(ours.per_second / theirs.per_second),
        "aloneMs": _short(ours.alone_ms / theirs.alone_ms),
        "cpuMs": _short(cpu),
        "atOnceSeconds": _short(ours.at_once_seconds / theirs.at_once_seconds),
    }


def _result_json(result: Result, reference: Result | None) -> dict[str, Any]:
    figures = result.figures
    return {
        "name": result.contender.name,
        "mode": result.mode,
        "perSecond": _short(figures.per_second),
        "aloneMs": _short(figures.alone_ms),
        "cpuMs": _short(figures.cpu_ms),
        "atOnceSeconds": _short(figures.at_once_seconds),
        "idleMb": _short(result.idle_mb),
        "startSeconds": _short(result.started_in),
        "reference": None if reference is None else reference.contender.name,
        "ratios": None if reference is None else _ratios(figures, reference.figures),
    }


def _percentile(seconds: Sequence[float], percent: int) -> float | None:
    if len(seconds) < 2:  # noqa: PLR2004 - fewer have no quantiles
        return None
    return _short(_MS * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1])


def _short(value: float | None) -> float | None:
    """Return the value with three significant digits."""
    return None if value is None else float(f"{value:.3g}")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{_short(value):g}"
