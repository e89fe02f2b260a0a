"""Fixtures that most tests share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from schemathesis.pytest.plugin import SchemathesisFunction

from tests.support.postgres import Storage, storage_on
from tests.support.probe_nodes import PROBE_TYPES, Gates, fresh_gates
from tests.support.service import RunningService

# How long an example takes, or is made, says how busy the machine is.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


_TEMPORARY: str | None = None
"""All temporary files of the session and of its processes; workers of xdist have the controller's.
Created at import, because ``tests/prefect/conftest.py`` needs it at once."""

if "PYTEST_XDIST_WORKER" not in os.environ:
    _TEMPORARY = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="workflow-tests-")
    tempfile.tempdir = None  # it is read from the environment when it is next used


def pytest_unconfigure() -> None:
    """Removes the temporary files in any case; those of tests are kept with ``--basetemp``."""
    if _TEMPORARY is not None:
        shutil.rmtree(_TEMPORARY, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives the tests that schemathesis makes of one function ids of their own.

    They have names of their own, but one id under this pytest, and of those with the same id
    xdist runs a single one and says nothing.
    """
    for item in items:
        if isinstance(item, SchemathesisFunction):
            item._id = item.id.with_params(item.operation_label)


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """The database of the test's services: SQLite, or one after the other with ``on_both``."""
    with storage_on(request) as settings:
        yield settings


@pytest.fixture
def service(tmp_path: Path, storage: Storage) -> Iterator[RunningService]:
    """A running service with an empty database of its own."""
    with RunningService(tmp_path, PROBE_TYPES, **storage) as running:
        yield running


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One running service for the tests of a module that do not get in each other's way."""
    with RunningService(tmp_path_factory.mktemp("service"), PROBE_TYPES) as running:
        yield running


@pytest.fixture
def gates() -> Iterator[Gates]:
    """The gates of this test."""
    with fresh_gates() as mine:
        yield mine
