"""Crash recovery: continues executions of a service that was killed."""

import os
from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")


def test_an_execution_survives_the_death_of_its_process(tmp_path: Path) -> None:
    """After SIGKILL, only the node that was running is executed again."""
    with CallCounter() as server, ServiceProcess(tmp_path) as service:
        graph = document(server.node("a"), server.node("b", gate="open"), flow=("a -> b",))
        service.run_process()
        execution_id = service.start(graph)
        server.wait_for(execution_id, "b")

        service.kill()
        server.open("open")
        service.run_process()

        assert service.wait_ended(execution_id) == ["completed"]
        assert server.of(execution_id) == {"a": 1, "b": 2}
