"""Report: formats the measurements as a table for people and as one JSON line for programs."""

import json
import os
import platform
import statistics
from dataclasses import dataclass
from typing import Any

from bench.bare import Bare
from bench.load import Burst, Throughput

_MS = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one run."""

    concurrency: int
    clients: int
    started_in: float
    burst: Burst
    throughput: Throughput
    bare: Bare | None
    peak_memory_mb: float | None

    def figures(self) -> dict[str, Any]:
        """Return every figure by name, in the unit of its name; ``None`` if it was not measured."""
        run, bare = self.throughput, self.bare
        ours = run.executions / run.seconds
        theirs = bare.per_second if bare else None
        cpu = None if run.cpu_seconds is None else run.cpu_seconds * _MS / run.executions
        return {
            "submissions": len(self.burst.submitting),
            "clients": self.clients,
            "submissionsPerSecond": _short(len(self.burst.submitting) / self.burst.seconds),
            "submissionMsP50": _percentile(self.burst.submitting, 50),
            "submissionMsP99": _percentile(self.burst.submitting, 99),
            "polls": len(self.burst.polling),
            "pollMsP50": _percentile(self.burst.polling, 50),
            "pollMsP99": _percentile(self.burst.polling, 99),
            "concurrency": self.concurrency,
            "executions": run.executions,
            "executionsPerSecond": _short(ours),
            "cpuMsPerExecution": _short(cpu),
            "bareFlows": bare.flows if bare else None,
            "bareFlowsPerSecond": _short(theirs),
            "bareFailed": bare.failed if bare else None,
            "bareLost": bare.lost if bare else None,
            "bareReadySeconds": _short(bare.ready_in) if bare else None,
            "ratio": _short(ours / theirs) if theirs else None,
            "startSeconds": _short(self.started_in),
            "peakMemoryMb": _short(self.peak_memory_mb),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }

    def table(self) -> str:
        """Return the figures as a table."""
        f = self.figures()
        rows = [
            ("start until GET / responds", f"{f['startSeconds']} s"),
            (
                f"{f['submissions']} submissions from {f['clients']} clients",
                f"{f['submissionsPerSecond']}/s, p50 {f['submissionMsP50']} ms, "
                f"p99 {f['submissionMsP99']} ms",
            ),
            (
                f"{f['polls']} polls while they run",
                f"p50 {f['pollMsP50']} ms, p99 {f['pollMsP99']} ms",
            ),
            (
                f"executions of 10 nodes, {f['concurrency']} at once",
                f"{f['executionsPerSecond']}/s, CPU {f['cpuMsPerExecution']} ms each",
            ),
            ("plain Prefect flows of 10 tasks, same concurrency", self._bare_row(f)),
            ("ratio", "-" if f["ratio"] is None else f"{f['ratio']} x"),
            ("peak memory of the service", f"{f['peakMemoryMb']} MB"),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)

    def json_line(self) -> str:
        """Return the figures as one JSON line."""
        return json.dumps(self.figures())

    def _bare_row(self, f: dict[str, Any]) -> str:
        if self.bare is None:
            return "not measured"
        return (
            f"{f['bareFlowsPerSecond']}/s, {f['bareFailed']} failed, {f['bareLost']} lost, "
            f"ready after {f['bareReadySeconds']} s"
        )


def _percentile(seconds: list[float], percent: int) -> float | None:
    if len(seconds) < 2:  # noqa: PLR2004 - fewer have no quantiles
        return None
    return _short(_MS * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1])


def _short(value: float | None) -> float | None:
    """Return the value with three significant digits."""
    return None if value is None else float(f"{value:.3g}")
