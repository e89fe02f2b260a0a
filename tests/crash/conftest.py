"""Fixtures of the crash tests."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callback_receiver import Receiver
from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.postgres import Storage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory; Windows does not have these signals."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.crash)
            if os.name == "nt":
                item.add_marker(pytest.mark.skip(reason="Windows has neither SIGKILL nor SIGSTOP"))


@pytest.fixture
def visits() -> Iterator[CallCounter]:
    """Start the server that the nodes of this test call."""
    with CallCounter() as server:
        yield server


@pytest.fixture
def process(tmp_path: Path, storage: Storage) -> Iterator[ServiceProcess]:
    """Return a service with a new database, before its start."""
    with ServiceProcess(tmp_path, **storage) as service:
        yield service


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Start a receiver of callbacks."""
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
