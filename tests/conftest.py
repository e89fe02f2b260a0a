"""Fixtures that most tests share."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest
import structlog
from schemathesis.pytest.plugin import SchemathesisFunction

from tests.support.postgres import Storage, drop_templates, storage_on
from tests.support.probe_nodes import PROBE_TYPES, Gates, fresh_gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService

# Without deadlines, because the duration of an example depends on the load of the machine.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


_TEMPORARY: str | None = None
"""Directory of all temporary files of the session and of its processes, shared by xdist workers.
It is created at import, because ``tests/prefect/conftest.py`` needs it then."""

if "PYTEST_XDIST_WORKER" not in os.environ:
    _TEMPORARY = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="workflow-tests-")
    tempfile.tempdir = None  # the next use of a temporary file reads the environment again


def pytest_unconfigure() -> None:
    """Delete template databases and temporary files; ``--basetemp`` keeps those of tests."""
    drop_templates()
    if _TEMPORARY is not None:
        shutil.rmtree(_TEMPORARY, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that schemathesis generates from one function distinct ids.

    Their names differ, but under this pytest they have the same id, and xdist silently runs only
    one of several tests with the same id.
    """
    for item in items:
        if isinstance(item, SchemathesisFunction):
            item._id = item.id.with_params(item.operation_label)


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """The database of the test's services: SQLite, or each in turn with ``on_both``."""
    with storage_on(request) as settings:
        yield settings


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service that the tests of a module use one after the other."""
    reused = ReusedService(tmp_path_factory.mktemp("reused"))
    yield reused
    reused.stop()


@pytest.fixture
def service(storage: Storage, reused_service: ReusedService) -> Iterator[RunningService]:
    """A running service with an empty database."""
    with reused_service.lend(storage) as running:
        yield running


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One running service for all tests of a module that do not affect each other."""
    with RunningService(tmp_path_factory.mktemp("service"), PROBE_TYPES) as running:
        yield running


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the logging configuration after a test that changes it."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**config)


@pytest.fixture
def gates() -> Iterator[Gates]:
    """The gates of this test."""
    with fresh_gates() as test_gates:
        yield test_gates
