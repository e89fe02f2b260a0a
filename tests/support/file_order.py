"""File order: the processes of ``./test.sh`` start with the files that take longest.

A long file that starts last keeps one process busy while the others have no work. By default,
pytest-xdist starts with the files that have the most tests, and these are the fast unit tests.
"""

import os
from collections import Counter

import pytest

SECONDS_PER_TEST = {
    "crash": 4.0,
    "live": 2.0,
    "prefect": 1.0,
    "property": 1.5,
    "fundamentals": 1.0,
    "api": 0.3,
    "database": 0.2,
    "unit": 0.05,
}
"""Typical duration of a test by the folder of its file, in seconds; only their ratios matter."""


def put_long_files_first(items: list[pytest.Item]) -> None:
    """Sort the tests by the estimated duration of their file; keep the order within a file."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    counts = Counter(item.path for item in items)

    def duration(item: pytest.Item) -> float:
        return counts[item.path] * SECONDS_PER_TEST.get(item.path.parent.name, 1.0)

    items.sort(key=lambda item: (-duration(item), item.path))
