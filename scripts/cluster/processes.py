"""Cluster processes: starts the Prefect server, the service and the workers, and stops them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.1"
POOL = "cluster"
START_TIMEOUT_SECONDS = 240.0
"""Timeout for the start of each process, in seconds. A new Prefect server migrates its database."""
STOP_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.2


class ClusterError(Exception):
    """The cluster cannot be started; the message contains the reason."""


def open_database(url: str) -> AsyncEngine:
    """Return an engine for ``postgresql://…`` that commits each statement."""
    address = make_url(url).set(drivername="postgresql+asyncpg")
    return create_async_engine(address, isolation_level="AUTOCOMMIT")


async def execute(server: AsyncEngine, statement: str) -> None:
    """Execute one statement."""
    async with server.connect() as connection:
        await connection.execute(text(statement))


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@dataclass(slots=True)
class Cluster:
    """The running processes by name, and their addresses."""

    directory: Path
    database_url: str
    prefect_url: str
    service_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, subprocess.Popen[bytes]]
    )

    @property
    def workers(self) -> list[str]:
        """The names of the running workers."""
        return [
            name
            for name, process in self.processes.items()
            if name.startswith("worker-") and process.poll() is None
        ]

    def log_of(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.directory / f"{name}.log"

    def start(self, name: str, arguments: Sequence[str], **settings: str) -> None:
        """Start a Python process in a process group of its own."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PREFECT", "DATABASE_"))
        }
        with self.log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**inherited, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def running_executions(self, name: str) -> int:
        """Return how many executions a worker runs, according to its log."""
        log = self.log_of(name).read_text(encoding="utf-8", errors="replace")
        return log.count('"execution_claimed"') - log.count('"execution_finished"')

    def start_worker(self, name: str) -> None:
        """Start a worker of the pool."""
        self.start(name, ("start_worker.py", "--name", name), **self.settings)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the service and the workers."""
        return {
            "DATABASE_URL": self.database_url,
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_WORK_POOL": POOL,
            "PREFECT_HOME": str(self.directory / "prefect"),
            "EXECUTION_MODE": "workpool",
            "LOG_FORMAT": "json",
            "HTTP_ALLOWED_HOSTS": HOST,
            "DATA_ENCRYPTION_KEY": "a key of a cluster on loopback",
        }

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and its children."""
        process = self.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_SECONDS)

    async def wait_for(self, name: str, url: str) -> None:
        """Wait until a process responds with 200.

        Raises:
            ClusterError: If it ends, or does not respond in time.
        """
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while asyncio.get_running_loop().time() < deadline:
                self.require_alive(name)
                try:
                    if (await client.get(url)).is_success:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
        raise ClusterError(f"{name} does not respond at {url}; see {self.log_of(name)}")

    def require_alive(self, name: str) -> None:
        """Check that a process runs.

        Raises:
            ClusterError: If it has ended.
        """
        code = self.processes[name].poll()
        if code is not None:
            log = self.log_of(name).read_text(encoding="utf-8", errors="replace")[-2_000:]
            raise ClusterError(f"{name} has ended with the code {code}:\n{log}")

    async def stop(self) -> None:
        """Stop the workers and the service in an orderly way, and then the Prefect server."""
        for name in reversed(self.processes):
            process = self.processes[name]
            if process.poll() is None:
                process.terminate()
                try:
                    await asyncio.to_thread(process.wait, STOP_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    self.kill(name)


@asynccontextmanager
async def running_cluster(postgres_url: str, workers: int) -> AsyncGenerator[Cluster]:
    """Run a cluster with new databases on a PostgreSQL server; drop them at the end.

    Raises:
        ClusterError: If PostgreSQL does not respond, or a process does not start.
    """
    name = f"workflow_cluster_{uuid.uuid4().hex[:8]}"
    databases = (name, f"{name}_prefect")
    base = postgres_url.rpartition("/")[0]
    server = open_database(postgres_url)
    try:
        try:
            for database in databases:
                await execute(server, f'CREATE DATABASE "{database}"')
        except (SQLAlchemyError, OSError) as error:
            raise ClusterError(f"{server.url}: no database can be created: {error}") from None
        with tempfile.TemporaryDirectory(prefix="workflow-cluster-") as directory:
            cluster = Cluster(
                Path(directory),
                f"{base}/{databases[0]}",
                f"http://{HOST}:{free_port()}",
                f"http://{HOST}:{free_port()}",
            )
            try:
                await _start(cluster, f"{base}/{databases[1]}", workers)
                yield cluster
            finally:
                await cluster.stop()
    finally:
        with suppress(SQLAlchemyError, OSError):
            for database in databases:
                await execute(server, f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        await server.dispose()


async def _start(cluster: Cluster, prefect_database: str, workers: int) -> None:
    port = cluster.prefect_url.rpartition(":")[2]
    cluster.start(
        "prefect-server",
        ("-m", "prefect", "server", "start", "--host", HOST, "--port", port),
        PREFECT_HOME=str(cluster.directory / "prefect-server"),
        PREFECT_SERVER_DATABASE_CONNECTION_URL=prefect_database.replace(
            "postgresql://", "postgresql+asyncpg://"
        ),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_SERVER_UI_API_URL=f"{cluster.prefect_url}/api",  # the browser calls it
        DO_NOT_TRACK="1",
    )
    await cluster.wait_for("prefect-server", f"{cluster.prefect_url}/api/health")
    port = cluster.service_url.rpartition(":")[2]
    cluster.start(
        "service", ("start_service.py", "--host", HOST, "--port", port), **cluster.settings
    )
    await cluster.wait_for("service", f"{cluster.service_url}/health/ready")
    for number in range(1, workers + 1):
        cluster.start_worker(f"worker-{number}")
