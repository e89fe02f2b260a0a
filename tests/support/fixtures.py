"""Fixtures that most tests share: a plugin of pytest, which ``tests/conftest.py`` loads."""

import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from tests.support.postgres import Storage, drop_templates, storage_on
from tests.support.probe_nodes import PROBE_TYPES, Gates, fresh_gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService
from tests.support.two_services import ServicePair, two_services


class StdoutLogger:
    """Logger that writes to the file descriptor.

    Threads of services log while pytest replaces and closes ``sys.stdout``; printing to such a file
    crashed the interpreter.
    """

    def msg(self, message: str) -> None:
        os.write(1, f"{message}\n".encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg


def pytest_configure() -> None:
    """Let code log safely unless a test configures logging.

    Tracebacks are plain, because structlog's formatting of local variables takes a second for each.
    """
    formatter = structlog.dev.plain_traceback
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=formatter)
    processors = [*structlog.get_config()["processors"][:-1], plain]
    structlog.configure(processors=processors, logger_factory=lambda *_: StdoutLogger())


def pytest_unconfigure() -> None:
    """Delete the template databases of this process."""
    drop_templates()


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


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServicePair]:
    """Two services on one database for all tests of a module; see ``two_services``."""
    with (
        storage_on(request) as settings,
        two_services(tmp_path_factory.mktemp("pair"), **settings) as pair,
    ):
        yield pair


@pytest.fixture
def changeable_test_name(request: pytest.FixtureRequest) -> None:
    """Add the attribute that schemathesis changes for each operation; pytest 9.2 has removed it."""
    request.node._nodeid = request.node.nodeid


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
