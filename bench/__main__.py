"""Benchmark: measures the service and plain Prefect in one run (``python -m bench``)."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.bare import bare_flows
from bench.client import BenchError
from bench.load import burst, throughput, warm_up
from bench.report import Report
from bench.service import running_service

CONCURRENCY = 10
CLIENTS = 30
SUBMISSIONS = 300
WARM_UP = 20
# One of them can take seconds on Prefect's server.
BARE_FLOWS = 20


def main() -> int:
    """Print a table and a JSON line; return 0, or 1 if the measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--executions", type=int, default=400, help="queue length (%(default)s)")
    parser.add_argument("--skip-bare", action="store_true", help="measure the service alone")
    options = parser.parse_args()
    try:
        report = measure(options.executions, skip_bare=options.skip_bare)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report.table())
    print(report.json_line())
    return 0


def measure(executions: int, *, skip_bare: bool) -> Report:
    """Measure the service, then plain Prefect, never both at the same time.

    Raises:
        BenchError: If the service does not start, or rejects or loses an execution.
    """
    with tempfile.TemporaryDirectory(prefix="workflow-bench-") as name:
        directory = Path(name)
        with running_service(directory, CONCURRENCY) as service:
            warm_up(service, WARM_UP)
            crowd = burst(service, SUBMISSIONS, CLIENTS)
            worked_off = throughput(service, executions, CLIENTS)
            peak = service.peak_memory_mb()
        bare = None if skip_bare else bare_flows(directory, BARE_FLOWS, CONCURRENCY)
    return Report(CONCURRENCY, CLIENTS, service.started_in, crowd, worked_off, bare, peak)


if __name__ == "__main__":
    sys.exit(main())
