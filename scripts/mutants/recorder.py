"""Recorder: pytest plugin that stores which lines each test runs, and its processor time.

``python -m scripts.mutants record`` loads it in each process of pytest. Coverage measurement starts
when the plugin is imported, before the modules of the service are. A context of coverage.py holds
the lines of one test; it includes the lines that the threads of its service run. Both are stored
after each test, so that a recording that was interrupted is useful and can be continued.
"""

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

from scripts.mutants.places import DIRECTORY_VARIABLE, FOLDERS

_DIRECTORY = Path(os.environ[DIRECTORY_VARIABLE])
_PROCESS = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}"
_TESTS = _DIRECTORY / f"{_PROCESS}.tests.jsonl"
_failed: set[str] = set()
_coverage = coverage.Coverage(
    data_file=str(_DIRECTORY / f"{_PROCESS}.coverage"),
    config_file=False,
    source=list(FOLDERS),
    concurrency=["thread", "greenlet"],
)
_coverage.set_option("run:disable_warnings", ["no-data-collected"])  # of the main process of xdist
_coverage.start()


def processor_seconds() -> float:
    """Return the processor time of this process and of its processes that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def recorded_tests(directory: Path) -> dict[str, float | None]:
    """Return the processor time of each test; ``None`` if it failed or was skipped."""
    found: dict[str, float | None] = {}
    for path in directory.glob("*.tests.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            test, seconds = json.loads(line)
            found[test] = seconds
    return found


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that an earlier part of this recording has run."""
    known = recorded_tests(_DIRECTORY).keys()
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in known])
    items[:] = [item for item in items if item.nodeid not in known]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Attribute the lines and the processor time from here to this test, and store them."""
    _coverage.switch_context(item.nodeid)
    start = processor_seconds()
    result = yield
    seconds = None if item.nodeid in _failed else round(processor_seconds() - start, 3)
    with _TESTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps([item.nodeid, seconds]) + "\n")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember a test that failed or was skipped."""
    if report.outcome != "passed":
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Store the lines of the last test."""
    _coverage.stop()
    _coverage.save()
