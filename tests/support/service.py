"""A running service for tests: the real application on a real port, with a database of its own."""

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from api.server import Server
from api_service import create_app
from config import Settings
from flows.prefect_adapter.environment import prepare_prefect
from tasks.registry import DEFAULT, NodeTypes
from tests.support.tables import Row, tables_of

PATIENCE_SECONDS = 20.0

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """The first true answer of ``predicate``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {seconds} s")
        time.sleep(0.01)  # between two looks; the condition is what is awaited
    return answer


class RunningService:
    """The service in this process, on a free port of the loopback interface."""

    def __init__(
        self, directory: Path, node_types: NodeTypes = DEFAULT, **settings: object
    ) -> None:
        self.path = directory / "database.sqlite"
        values: dict[str, Any] = {
            "api_host": "127.0.0.1",
            "database_path": self.path,
            "prefect_home": directory / "prefect",
            "shutdown_grace_seconds": 0.0,
            "poll_interval_seconds": 0.2,
            "http_allowed_hosts": "127.0.0.1",  # where the servers of tests are
            **settings,
        }
        self.settings = Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]
        self.database_url = self.settings.url
        self._node_types = node_types
        # asyncio switches Nagle off only where a socket says that it is TCP; else 40 ms an answer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.http = httpx.Client(base_url=self.url, timeout=30.0)

    def __enter__(self) -> Self:
        prepare_prefect(self.settings.prefect_api_url, self.settings.prefect_home)
        self.app = create_app(self.settings, self._node_types)
        self._server = Server(
            self.app,
            self.settings.shutdown_grace_seconds,
            self.settings.request_body_timeout_seconds,
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        wait_until(lambda: self._server.started or not self._thread.is_alive())
        if not self._server.started:
            raise RuntimeError("the service did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self.http.close()
        self._socket.close()

    # What a client does

    def save(self, document: object, workflow_id: str = "w", name: str = "A workflow") -> str:
        """Saves a workflow as the main project would; ``document`` as JSON unless it is text."""
        data = document if isinstance(document, str) else json.dumps(document)
        self.write(
            "INSERT INTO workflows(id, name, data) VALUES (?, ?, ?)"
            " ON CONFLICT(id) DO UPDATE SET name=excluded.name, data=excluded.data",
            workflow_id,
            name,
            data,
        )
        return workflow_id

    def submit(self, workflow_id: str = "w", **body: object) -> httpx.Response:
        """Posts an execution."""
        return self.http.post("/api/workflows/execute", json={"workflowId": workflow_id, **body})

    def start(self, document: object, **body: object) -> str:
        """Saves a workflow, posts an execution of it and gives its id."""
        answer = self.submit(self.save(document), **body)
        assert answer.status_code == 200, answer.text
        return answer.json()["executionId"]

    def run(self, document: object, **body: object) -> dict[str, Any]:
        """As ``start``; gives the polling answer once the execution has ended."""
        return self.ended(self.start(document, **body))

    def poll(self, execution_id: str) -> dict[str, Any]:
        """The polling answer."""
        answer = self.http.get(f"/api/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, execution_id: str) -> dict[str, Any]:
        """The polling answer once the execution has ended."""

        def look() -> dict[str, Any] | None:
            answer = self.poll(execution_id)
            return answer if answer["status"] in ("completed", "failed", "cancelled") else None

        return wait_until(look)  # type: ignore[return-value]

    def logs(self, execution_id: str) -> dict[str, dict[str, Any]]:
        """The node logs by node id, in the order of start."""
        path = f"/api/executions/{execution_id}/logs"
        answer = self.http.get(path).json()
        logs = answer["logs"]
        while answer["hasMore"]:
            answer = self.http.get(path, params={"afterSeq": answer["nextSeq"]}).json()
            logs += answer["logs"]
        assert len({log["nodeId"] for log in logs}) == len(logs)
        return {log["nodeId"]: log for log in logs}

    # What somebody does with the database itself

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Reads rows with a connection of its own."""
        return tables_of(self.database_url).rows(sql, *values)

    def write(self, sql: str, *values: object) -> None:
        """Writes with a connection of its own."""
        tables_of(self.database_url).write(sql, *values)
