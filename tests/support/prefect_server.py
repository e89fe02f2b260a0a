"""Prefect server: a real server in a separate process, on SQLite or on PostgreSQL.

The migrations of a new database take half of the start, so that the first server of the session
leaves a copy of its database for the others, also for those of other test processes.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support.http_clients import client_of
from tests.support.ports import free_port
from tests.support.prepared_databases import made_once
from tests.support.service import wait_until

START_SECONDS = 150.0


class PrefectServer:
    """A server that can be stopped and restarted; its history is stored in a file."""

    def __init__(self, home: Path, database_url: str | None = None) -> None:
        self._home = home
        self._database_url = database_url
        self._database = home / "prefect.db"
        self._log = home / "server.log"
        self._port = free_port()
        self.api_url = f"http://127.0.0.1:{self._port}/api"
        self._http = client_of(self.api_url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the server and wait until it is healthy."""
        if self._database_url is not None or self._database.exists():
            return self._run()
        prepared = Path(tempfile.gettempdir()) / "prepared-prefect.db"
        with made_once(prepared, START_SECONDS) as unfinished:
            if unfinished is not None:
                self._run()
                self._copy_database(unfinished)
                return self
        shutil.copyfile(prepared, self._database)
        return self._run()

    def _run(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
        environment |= {
            "PREFECT_HOME": str(self._home),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._database_url
            or f"sqlite+aiosqlite:///{self._database}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            # PostgreSQL accepts 100 connections by default, and other tests use it too.
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "5",
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "5",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "prefect", "server", "start"]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self._port)],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._is_healthy, START_SECONDS)
        return self

    def _copy_database(self, target: Path) -> None:
        """Copy the database, which the server uses."""
        with (
            closing(sqlite3.connect(self._database)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)

    def _is_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with suppress(httpx.HTTPError):
            return self._http.get("/health", timeout=5).status_code == 200
        return False

    def close(self) -> None:
        """Kill the server, and close the client."""
        self.stop()
        self._http.close()

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def flow_runs(self) -> list[dict[str, Any]]:
        """Return all flow runs, oldest first."""
        sort = {"sort": "START_TIME_ASC", "limit": 200}
        response = httpx.post(f"{self.api_url}/flow_runs/filter", json=sort, timeout=10)
        assert response.status_code == 200, response.text
        return sorted(response.json(), key=lambda run: run["created"])

    def set_state(self, flow_run_id: str, state: str) -> None:
        """Set the state of a flow run, without the rules of the server."""
        url = f"{self.api_url}/flow_runs/{flow_run_id}/set_state"
        body = {"state": {"type": state.upper(), "name": state}, "force": True}
        assert httpx.post(url, json=body, timeout=10).status_code < 300

    def state_of(self, flow_run_id: str) -> str:
        """Return the name of a flow run's state."""
        response = self._http.get(f"/flow_runs/{flow_run_id}")
        assert response.status_code == 200, response.text
        return response.json()["state"]["name"]


@contextmanager
def prefect_server(home: Path, database_url: str | None = None) -> Iterator[PrefectServer]:
    """Yield a healthy server; end it after the block, and also if it does not start."""
    server = PrefectServer(home, database_url)
    try:
        yield server.start()
    finally:
        server.close()
