"""Recorder: pytest plugin that stores which lines each test runs, and how long the test takes.

``python -m scripts.mutants record`` loads it in each process of pytest. Coverage measurement starts
when the plugin is imported, before the modules of the service are. A context of coverage.py holds
the lines of one test; it includes the lines that the threads of its service run.
"""

import json
import os
from pathlib import Path

import coverage
import pytest

from scripts.mutants.places import DIRECTORY_VARIABLE, FOLDERS

_DIRECTORY = Path(os.environ[DIRECTORY_VARIABLE])
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_seconds: dict[str, float] = {}
_failed: set[str] = set()
_coverage = coverage.Coverage(
    data_file=str(_DIRECTORY / f"{_WORKER}.coverage"),
    config_file=False,
    source=list(FOLDERS),
    concurrency=["thread", "greenlet"],
)
_coverage.start()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Attribute the lines that run from here to this test."""
    _coverage.switch_context(item.nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add the duration of a phase of a test."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.outcome != "passed":
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Store the measurements; a test that failed or was skipped is not stored."""
    _coverage.stop()
    _coverage.save()
    passed = {test: seconds for test, seconds in _seconds.items() if test not in _failed}
    (_DIRECTORY / f"{_WORKER}.seconds.json").write_text(json.dumps(passed), encoding="utf-8")
