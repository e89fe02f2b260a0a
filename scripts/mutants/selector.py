"""Selector: pytest plugin that runs the tests of a trial in their order, up to the first failure.

It reads the ids from a JSON file. Beside it, it writes the id of the test that runs, and whether it
failed by a timeout.
"""

import json
import os
from pathlib import Path

import pytest

from scripts.mutants.places import SELECTION_VARIABLE

_FILE = Path(os.environ[SELECTION_VARIABLE])
_STATE = _FILE.with_suffix(".state")
_TESTS: list[str] | None = json.loads(_FILE.read_text(encoding="utf-8"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the selected tests only; all of them if the file contains ``null``."""
    if _TESTS is None:
        return
    places = {test: place for place, test in enumerate(_TESTS)}
    others = [item for item in items if item.nodeid not in places]
    items[:] = sorted(
        (item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid]
    )
    config.hook.pytest_deselected(items=others)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Store the test that starts."""
    _store(nodeid, is_timeout=False)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Store the test that failed, and whether pytest-timeout ended it."""
    if report.failed:
        _store(report.nodeid, is_timeout="from pytest-timeout" in report.longreprtext)


def _store(test: str, *, is_timeout: bool) -> None:
    _STATE.write_text(json.dumps({"test": test, "is_timeout": is_timeout}), encoding="utf-8")
