"""Fixtures of the Prefect tests; Prefect's settings are written before Prefect is imported."""

import tempfile
from pathlib import Path

import pytest

from flows.prefect_adapter.environment import prepare_prefect

_HOME = Path(tempfile.mkdtemp(prefix="prefect-home-"))

prepare_prefect(None, _HOME)


@pytest.fixture(autouse=True)
def embedded_settings() -> None:
    """Other tests of the session may have prepared Prefect with another home."""
    prepare_prefect(None, _HOME)
