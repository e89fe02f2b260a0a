"""Fixtures that most tests share: a plugin of pytest, which ``tests/conftest.py`` loads."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import structlog

from tests.support.postgres import Storage, drop_emptied, storage_on
from tests.support.probe_nodes import PROBE_TYPES, Gates, fresh_gates
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService
from tests.support.setup_selection import EMBEDDED, setup_of
from tests.support.shared_setup import SharedSetup, shared_setup
from tests.support.two_services import ServicePair, two_services

__all__ = ["shared_setup"]


ConfiguredService = Callable[..., AbstractContextManager[RunningService]]
"""Runs a service on a storage, with settings."""


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
    """Drop the databases that the tests of this process have used."""
    drop_emptied()


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """The database of the test's services: SQLite, or each in turn with ``on_both``.

    With ``--setup``, the services of the set-up have a database, and others use PostgreSQL.
    """
    if setup_of(request.config) != EMBEDDED and "service" in request.fixturenames:
        yield {}
        return
    with storage_on(request) as settings:
        yield settings


@pytest.fixture(scope="module")
def reused_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReusedService | SharedSetup]:
    """The service that the tests of a module use one after the other."""
    if setup_of(request.config) != EMBEDDED:
        yield request.getfixturevalue("shared_setup")
        return
    reused = ReusedService(tmp_path_factory.mktemp("reused"))
    yield reused
    reused.stop()


@pytest.fixture
def service(
    storage: Storage, reused_service: ReusedService | SharedSetup
) -> Iterator[RunningService]:
    """A running service with an empty database."""
    with reused_service.lend(storage) as running:
        yield running


@pytest.fixture(scope="module")
def shared_service(configured_service: ConfiguredService) -> Iterator[RunningService]:
    """One running service for all tests of a module that do not affect each other."""
    with configured_service({}) as running:
        yield running


@pytest.fixture(scope="module")
def configured_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ConfiguredService:
    """Return a function that starts a service with other settings, in the set-up of the tests."""
    if setup_of(request.config) != EMBEDDED:
        setup: SharedSetup = request.getfixturevalue("shared_setup")
        return setup.lend

    def start(storage: Storage, **settings: object) -> RunningService:
        directory = tmp_path_factory.mktemp("service")
        return RunningService(directory, PROBE_TYPES, **settings, **storage)

    return start


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
