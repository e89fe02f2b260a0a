"""Running service for tests: serves the real application on a real port, with its own database."""

import json
import os
import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from prefect.settings import get_current_settings

from api.server import Server
from api_service import create_app
from config import Settings
from engine.status import TERMINAL
from flows.prefect_adapter.environment import EMBEDDED_API_URL, prepare_prefect
from tasks.registry import DEFAULT, NodeTypes
from tests.support.conditions import wait_until
from tests.support.http_clients import client_of
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.tables import Row, tables_of


@cache
def _shared_prefect_home() -> Path:
    """Return the directory for Prefect's files of all services in this process."""
    return Path(tempfile.mkdtemp(prefix="prefect-"))


def _prepare_prefect_once(settings: Settings) -> None:
    """Prepare Prefect unless it is prepared for these settings: reading its settings is slow."""
    current = get_current_settings()
    url = settings.prefect_api_url or EMBEDDED_API_URL
    is_prepared = (current.home, current.api.url) == (settings.prefect_home, url)
    # A test that removes the settings of the environment removes those of Prefect too.
    if not is_prepared or "PREFECT_API_URL" not in os.environ:
        prepare_prefect(settings.prefect_api_url, settings.prefect_home)


class RunningService:
    """Service in this process, on a free port of the loopback interface."""

    def __init__(
        self, directory: Path, node_types: NodeTypes = DEFAULT, **settings: object
    ) -> None:
        self.path = directory / "database.sqlite"
        values: dict[str, Any] = {
            "api_host": "127.0.0.1",
            "database_path": self.path,
            "prefect_home": _shared_prefect_home(),
            "shutdown_grace_seconds": 0.0,
            "poll_interval_seconds": 0.2,
            "http_allowed_hosts": "127.0.0.1",  # the servers of tests listen there
            **settings,
        }
        self.settings = Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]
        self.database_url = self.settings.url
        self._node_types = node_types
        # asyncio disables Nagle's algorithm only for sockets that name TCP as their protocol;
        # with the algorithm, each response takes 40 ms longer.
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.listening_socket = socket.socket(*tcp)
        self.listening_socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening_socket.getsockname()[1]}"
        self.http = client_of(self.url)

    def __enter__(self) -> Self:
        if self.settings.database_url is None and not self.path.exists():
            copy_prepared_sqlite(self.path)
        _prepare_prefect_once(self.settings)
        self.app = create_app(self.settings, self._node_types)
        self._server = Server(self.app, self.settings.shutdown_grace_seconds)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self.listening_socket]}, daemon=True
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
        self.listening_socket.close()

    @property
    def is_running(self) -> bool:
        """Whether the service runs and has not been stopped."""
        return self._thread.is_alive() and not self._server.should_exit

    # Requests of a client

    def save(self, document: object, workflow_id: str = "w", name: str = "A workflow") -> str:
        """Save a workflow as the main project does; a string is stored as it is."""
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
        """Submit an execution; return the response."""
        return self.http.post("/api/workflows/execute", json={"workflowId": workflow_id, **body})

    def start(self, document: object, **body: object) -> str:
        """Save a workflow, submit an execution of it and return the id of the execution."""
        response = self.submit(self.save(document), **body)
        assert response.status_code == 200, response.text
        return response.json()["executionId"]

    def run(self, document: object, **body: object) -> dict[str, Any]:
        """Like ``start``, but return the execution after it has ended."""
        return self.ended(self.start(document, **body))

    def poll(self, execution_id: str) -> dict[str, Any]:
        """Return the execution as the API shows it now."""
        response = self.http.get(f"/api/executions/{execution_id}")
        assert response.status_code == 200, response.text
        return response.json()

    def ended(self, execution_id: str) -> dict[str, Any]:
        """Return the execution after it has ended."""

        def poll_ended() -> dict[str, Any] | None:
            execution = self.poll(execution_id)
            return execution if execution["status"] in TERMINAL else None

        return wait_until(poll_ended)  # type: ignore[return-value]

    def logs(self, execution_id: str) -> dict[str, dict[str, Any]]:
        """Return the node logs by node id, in the order in which the nodes started."""
        path = f"/api/executions/{execution_id}/logs"
        page = self.http.get(path).json()
        logs = page["logs"]
        while page["hasMore"]:
            page = self.http.get(path, params={"afterSeq": page["nextSeq"]}).json()
            logs += page["logs"]
        assert len({log["nodeId"] for log in logs}) == len(logs)
        return {log["nodeId"]: log for log in logs}

    # Direct access to the database

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Read rows through a separate connection."""
        return tables_of(self.database_url).rows(sql, *values)

    def write(self, sql: str, *values: object) -> None:
        """Write through a separate connection."""
        tables_of(self.database_url).write(sql, *values)
