"""File order: the processes of ``./test.sh`` start with the files that take longest.

A long file that starts last keeps one process busy while the others have no work. By default,
pytest-xdist starts with the files that have the most tests, and these are the fast unit tests.
"""

import os
from collections import Counter
from pathlib import Path

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

SECONDS_PER_FILE = {
    "api/test_attacks.py": 40.0,
    "api/test_demo.py": 20.0,
    "api/test_doc_blocks.py": 40.0,
    "api/test_foreign_status.py": 40.0,
    "api/test_openapi_keys.py": 20.0,
    "api/test_openapi_requests.py": 45.0,
    "api/test_human_tasks.py": 35.0,
    "api/test_schedules.py": 45.0,
    "api/test_start.py": 30.0,
    "api/test_swagger.py": 40.0,
    "api/test_webhook_responses.py": 30.0,
    "api/test_wf.py": 50.0,
    "crash/test_bulk.py": 90.0,
    "crash/test_execution_processes.py": 80.0,
    "crash/test_failure_workflows.py": 40.0,
    "crash/test_schedules.py": 40.0,
    "crash/test_tracked_server.py": 70.0,
    "crash/test_work_pool.py": 280.0,
    "prefect/test_tracked_prefect.py": 60.0,
    "unit/test_temporary_files.py": 20.0,
}
"""Duration of the files whose tests take longer than those of their folder, in seconds."""


def put_long_files_first(items: list[pytest.Item]) -> None:
    """Sort the tests by the estimated duration of their file; keep the order within a file."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (-duration_of(item.path, counts[item.path]), item.path))


def duration_of(file: Path, tests: int) -> float:
    """Return the estimated duration of a file with this number of tests, in seconds."""
    folder = file.parent.name
    known = SECONDS_PER_FILE.get(f"{folder}/{file.name}")
    return tests * SECONDS_PER_TEST.get(folder, 1.0) if known is None else known
