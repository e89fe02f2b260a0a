"""Benchmark: compares the service with DBOS and Prefect in one run (``python -m bench``)."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.bare import bare_flows
from bench.client import BenchError
from bench.comparison import compare
from bench.contenders import COMPARISON, Contender, dbos, is_dbos_installed, is_reachable, ours
from bench.load import burst, warm_up
from bench.polls import poll_cost
from bench.report import Report
from bench.service import running_service

CONCURRENCY = 10
CLIENTS = 30
SUBMISSIONS = 200
WARM_UP = 20
# One of them can take seconds on Prefect's server.
BARE_FLOWS = 10
POSTGRES = os.environ.get("BENCH_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
PLOT_SCRIPT = Path(__file__).with_name("plot.py")


def main() -> int:
    """Print a table; return 0, or 1 if the measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--skip-bare", action="store_true", help="without plain Prefect")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them (needs --json)")
    options = parser.parse_args()
    try:
        report = measure(_contenders(), skip_bare=options.skip_bare)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.table())
    if options.json is not None:
        text = json.dumps(report.as_json(), indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
        if options.plot is not None:
            command = [COMPARISON / "python", PLOT_SCRIPT, options.json, options.plot]
            subprocess.run(command, check=True)
    return 0


def _contenders() -> list[Contender]:
    """Return the contenders that can run here, and print which cannot."""
    postgres = POSTGRES if asyncio.run(is_reachable(POSTGRES)) else None
    if postgres is None:
        print(f"no PostgreSQL server at {POSTGRES}: not measured", file=sys.stderr)
    found = [ours(CONCURRENCY)]
    if postgres is not None:
        found.append(ours(CONCURRENCY, postgres))
    if not is_dbos_installed():
        print("DBOS is not installed (make bench installs it): not measured", file=sys.stderr)
        return found
    found.append(dbos())
    if postgres is not None:
        found.append(dbos(postgres))
    return found


def measure(contenders: list[Contender], *, skip_bare: bool) -> Report:
    """Measure all contenders, then the service alone, then Prefect; never two at the same time.

    Raises:
        BenchError: If a contender does not start, or rejects or loses an execution.
    """
    with tempfile.TemporaryDirectory(prefix="workflow-bench-") as name:
        directory = Path(name)
        results = compare(directory, contenders)
        with running_service(directory, CONCURRENCY) as service:
            warm_up(service, WARM_UP)
            crowd = burst(service, SUBMISSIONS, CLIENTS)
            polls = poll_cost(service)
        bare = None if skip_bare else bare_flows(directory, BARE_FLOWS, CONCURRENCY)
    return Report(results, _floor_ms(), crowd, polls, bare)


def _floor_ms() -> float:
    """Return the figure of ``bench.floor``, which prepares Prefect in a process of its own."""
    command = [sys.executable, "-m", "bench.floor"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-2])


if __name__ == "__main__":
    sys.exit(main())
