"""A network cut between a service and its database: another service takes over."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.crash_harness import START_SECONDS, ServiceProcess
from tests.support.documents import document, node
from tests.support.network_namespace import network_namespace
from tests.support.postgres import Storage
from tests.support.service import wait_until
from tests.support.tcp_proxy import tcp_proxy_to

LEASE_SECONDS = 3.0


class Spans:
    """The node runs of ``span`` nodes, which any process writes to a file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "spans"

    def node(self, node_id: str, waits_for: str | None = None) -> dict:
        gate = {} if waits_for is None else {"waitsFor": str(self._directory / waits_for)}
        return node(node_id, "span", file=str(self._file), **gate)

    def open(self, gate: str) -> None:
        (self._directory / gate).touch()

    def of(self, node_id: str, event: str = "start") -> int:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return sum(line.startswith(f"{event} ") and line.endswith(f" {node_id}") for line in lines)


@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
def test_a_service_without_its_database_stops_writing_after_its_lease(
    tmp_path: Path, storage: Storage
) -> None:
    spans = Spans(tmp_path)
    server = make_url(storage["database_url"])
    target = (server.host or "127.0.0.1", server.port or 5432)
    with network_namespace() as space, tcp_proxy_to(target, host=space.host) as proxy:
        url = server.set(host=proxy.host, port=proxy.port).render_as_string(hide_password=False)
        slots = {"max_concurrent_executions": 1, "lease_seconds": LEASE_SECONDS}
        with (
            ServiceProcess(tmp_path, **storage, **slots) as heir,
            ServiceProcess(tmp_path, database_url=f"{url}?command_timeout=2", **slots) as victim,
        ):
            victim.log = tmp_path / "victim.log"
            heir.run_process()
            start = node("start", "trigger")
            blocks = document(start, spans.node("block", "heir"), flow=("start -> block",))
            blocker = heir.start(blocks, inputs={"n": 0})
            wait_until(lambda: spans.of("block"))
            victim.start_process(network_namespace=space.name)
            nodes = [start, spans.node("a"), spans.node("b", "gate"), spans.node("c")]
            graph = document(*nodes, flow=("start -> a", "a -> b", "b -> c"))
            execution_id = heir.start(graph, inputs={"n": 1})
            wait_until(lambda: spans.of("b"), START_SECONDS)
            owner = heir.row(execution_id)["owner"]

            space.cut()
            spans.open("heir")
            wait_until(lambda: spans.of("b") == 2)
            assert heir.row(execution_id)["owner"] not in (None, owner)
            spans.open("gate")
            assert heir.wait_ended(blocker, execution_id) == ["completed"] * 2
            wait_until(lambda: spans.of("b", "end") == 2)  # the victim has a result to record
            ended, rows = heir.row(execution_id), heir.node_rows(execution_id)

            space.restore()
            wait_until(lambda: victim.events("lease_lost"))
            assert (heir.row(execution_id), heir.node_rows(execution_id)) == (ended, rows)
            assert {node_id: spans.of(node_id) for node_id in "abc"} == {"a": 1, "b": 2, "c": 1}
            assert heir.violations() == []
