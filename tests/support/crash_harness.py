"""Crash harness: runs the service in a process that tests can kill, freeze and restart."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from config import Settings
from database import Database
from tests.support.conditions import WAIT_TIMEOUT_SECONDS, wait_until
from tests.support.http_clients import client_of
from tests.support.ports import free_port
from tests.support.prepared_databases import copy_prepared_sqlite
from tests.support.service import RunningService
from tests.support.warm_processes import WarmProcess

START_SECONDS = 120.0
"""Timeout for the start of the service, in seconds; imports are slow if many processes start."""
LEASE_SECONDS = 1.0
"""Duration of leases, in seconds: the minimum that the setting accepts."""


class ServiceProcess(RunningService):
    """A ``RunningService`` in a separate process group, started by ``launcher``.

    Several services may share one directory, and with it the database and the log file.
    """

    def __init__(self, directory: Path, **settings: object) -> None:
        # Without the constructor of the base class, which runs the service in this process.
        self.path = directory / "database.sqlite"
        self.database_url = str(settings.get("database_url", f"sqlite+aiosqlite:///{self.path}"))
        self.log = directory / "service.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = client_of(self.url)
        self._process: WarmProcess | None = None
        self._settings = {
            "api_host": "127.0.0.1",
            "api_port": port,
            "database_path": self.path,
            "prefect_home": directory / "prefect",
            "lease_seconds": LEASE_SECONDS,
            "poll_interval_seconds": 0.1,
            "log_format": "json",
            "http_allowed_hosts": "127.0.0.1",
            **settings,
        }

    # Starting and ending

    def start_process(self, **tampering: object) -> Self:
        """Start the service without waiting for it.

        ``launcher`` documents the faults of ``tampering``, such as ``kill_at="after_claim"``.
        """
        ours = {name.upper() for name in Settings.model_fields}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name.upper() not in ours and not name.startswith("PREFECT")
        }
        if "database_url" not in self._settings and not self.path.exists():
            copy_prepared_sqlite(self.path)
        settings = {name.upper(): str(value) for name, value in self._settings.items()}
        extra = {name.upper(): str(value) for name, value in tampering.items()}
        self._process = WarmProcess({**inherited, **settings, **extra}, self.log)
        return self

    def run_process(self, **tampering: object) -> Self:
        """Start the service and wait until it responds."""
        return self.start_process(**tampering).wait_ready()

    def wait_ready(self) -> Self:
        """Wait until the service responds."""

        def answers() -> bool:
            assert self.process.poll() is None, f"it did not start:\n{self.log.read_text()}"
            with suppress(httpx.HTTPError):
                return self.http.get("/").status_code == 200
            return False

        wait_until(answers, START_SECONDS)
        return self

    @property
    def process(self) -> WarmProcess:
        """Return the process that was started last."""
        assert self._process is not None, "it was never started"
        return self._process

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait(60)

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self.process.terminate()

    def wait_dead(self, seconds: float = WAIT_TIMEOUT_SECONDS) -> int:
        """Wait for the end of the process; return the exit code."""
        return self.process.wait(seconds)

    def stop(self, seconds: float = WAIT_TIMEOUT_SECONDS) -> int:
        """Send SIGTERM; return the exit code."""
        self.ask_to_stop()
        return self.wait_dead(seconds)

    def freeze(self) -> None:
        """Send SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
        self.http.close()

    # Queries

    def start_fatal(self, document: object, **body: object) -> str:
        """Start an execution that kills the service; wait for the end of the process."""
        workflow_id = self.save(document)
        with suppress(httpx.HTTPError):
            self.submit(workflow_id, **body)
        self.wait_dead()
        (row,) = self.rows(
            "SELECT executionId FROM orchestrator_runs ORDER BY position DESC LIMIT 1"
        )
        return row["executionId"]

    def row(self, execution_id: str) -> dict[str, Any]:
        """Return the rows of the execution from the database."""
        (row,) = self.rows(
            "SELECT * FROM workflow_executions AS e JOIN orchestrator_runs AS r"
            " ON r.executionId = e.id WHERE e.id = ?",
            execution_id,
        )
        return dict(row)

    def node_rows(self, execution_id: str) -> dict[str, dict[str, Any]]:
        """Return the rows of its nodes from the database, by node id."""
        rows = self.rows("SELECT * FROM execution_logs WHERE executionId = ?", execution_id)
        return {row["nodeId"]: dict(row) for row in rows}

    def wait_for_status(self, execution_id: str, status: str) -> None:
        """Wait for a status in the database."""
        wait_until(lambda: self.row(execution_id)["status"] == status)

    def wait_ended(self, *execution_ids: str, seconds: float = WAIT_TIMEOUT_SECONDS) -> list[str]:
        """Wait for the end of the executions; return their statuses from the database."""
        ended = ("completed", "failed", "cancelled")

        def statuses() -> list[str] | None:
            now = [self.row(execution_id)["status"] for execution_id in execution_ids]
            return now if all(status in ended for status in now) else None

        return wait_until(statuses, seconds) or []

    def open_database(self) -> Database:
        """Open the database in this process; the caller closes it."""
        return Database(self.database_url)

    def violations(self, *, service_runs: bool = True) -> list[str]:
        """Return the violations that the service's check finds in the database."""

        async def check() -> list[str]:
            database = self.open_database()
            try:
                found = await database.find_violations(service_runs=service_runs)
            finally:
                await database.close()
            return [str(violation) for violation in found]

        return asyncio.run(check())

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """Return the log events with this name."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event.get("event") == name]
