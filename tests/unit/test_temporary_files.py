"""Temporary files: the tests leave none, in pytest's process and in one of pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT

COLLECTED_FILES = ["tests/unit/test_status.py", "tests/prefect/test_prefect_environment.py"]
"""The second file creates a home for Prefect when it is collected; its tests do not run."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_session_removes_all_its_temporary_files(tmp_path: Path, processes: str) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    names = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", processes]
    ended = subprocess.run(
        [*command, "-k", "test_status", *COLLECTED_FILES],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert [path.name for path in temporary.iterdir()] == []
