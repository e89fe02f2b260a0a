"""Order of the test files: long files start first, and the table names files that exist."""

from config import ROOT
from tests.support.file_order import SECONDS_PER_FILE, SECONDS_PER_TEST, duration_of


def test_the_tables_name_files_and_folders_that_exist() -> None:
    tests = ROOT / "tests"
    assert [name for name in SECONDS_PER_FILE if not (tests / name).is_file()] == []
    assert [name for name in SECONDS_PER_TEST if not (tests / name).is_dir()] == []


def test_one_long_test_counts_more_than_many_short_ones() -> None:
    page, states = ROOT / "tests/api/test_swagger.py", ROOT / "tests/unit/test_status.py"
    assert duration_of(page, 1) > duration_of(states, 100) > duration_of(states, 1)
