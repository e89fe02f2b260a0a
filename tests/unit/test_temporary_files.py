"""Temporary files: the tests leave none, in one process and in several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT

SELECTED_TESTS = ["tests/unit/test_status.py", "tests/prefect/test_prefect_environment.py"]
"""The second file creates a home for Prefect when it is collected."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("processes", "selected"), [("0", ""), ("2", "no_such_test")])
def test_a_session_removes_all_its_temporary_files(
    tmp_path: Path, processes: str, selected: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    names = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", processes]
    ended = subprocess.run(
        [*command, "-k", selected, *SELECTED_TESTS],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    no_tests = 5
    assert ended.returncode == (no_tests if selected else 0), ended.stdout
    assert [path.name for path in temporary.iterdir()] == []
