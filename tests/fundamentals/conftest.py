"""Configuration of the fundamentals: all of them run in each set-up."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.behavior)
            item.add_marker(pytest.mark.essential)
