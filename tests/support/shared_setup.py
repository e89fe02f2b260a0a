"""Shared set-up: the services and workers of ``--setup``, which all tests of a session use.

The tests see one service, at the address of a load balancer. Each connection goes to the next
service, and no connection is used for two requests, so that the requests of a test alternate.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support.conditions import wait_until
from tests.support.gates import prepare_gates
from tests.support.http_clients import client_of
from tests.support.pool_workers import POOL, PoolWorker
from tests.support.postgres import Storage, new_postgres_database
from tests.support.postgres_content import Content
from tests.support.prefect_server import PrefectServer
from tests.support.prepared_databases import DEFAULT_EXAMPLES, Examples
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService
from tests.support.setup_selection import WORKPOOL, setup_of
from tests.support.tcp_proxy import tcp_proxy_to

END_SECONDS = 30.0
"""Timeout for the end of the executions that a test has left, in seconds."""
MAX_DEADLOCKS = 5
_UNENDED = "SELECT executionId FROM orchestrator_runs WHERE endedAt IS NULL"
_OWNED = "SELECT executionId FROM orchestrator_runs WHERE endedAt IS NULL OR owner IS NOT NULL"


class BalancedService(RunningService):
    """Several services on one database, as the tests of one service see them."""

    def __init__(self, services: list[RunningService], port: int) -> None:
        # Without the constructor of the base class, because the services run already.
        self.services = services
        self.settings = services[0].settings
        self.database_url = services[0].database_url
        self.url = f"http://127.0.0.1:{port}"
        self.http = client_of(self.url, limits=httpx.Limits(max_keepalive_connections=0))


class ProbeWorker(PoolWorker):
    """A worker that knows the probe nodes."""

    module = "tests.support.pool_launcher"


class SharedSetup:
    """The servers of a set-up, from ``start`` to ``stop``."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory
        self._stack = ExitStack()
        self._settings: dict[str, object] = {}
        self._content: Content | None = None
        self._services: dict[str, BalancedService] = {}
        self._runner = asyncio.Runner()
        self._workers: list[PoolWorker] = []

    def start(self) -> None:
        """Start the servers; skip the tests without a PostgreSQL server."""
        self._stack.enter_context(self._runner)
        url = self._new_database(DEFAULT_EXAMPLES)
        self._settings = {"database_url": url, "data_encryption_key": "a key of a set-up for tests"}
        self._content = self._runner.run(self._read_content())
        if self._name == WORKPOOL:
            self._start_pool()

    def _new_database(self, examples: Examples | None = None) -> str:
        runner = self._runner
        database = new_postgres_database(examples)
        url = runner.run(database.__aenter__())
        self._stack.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        return url

    def _start_pool(self) -> None:
        gates = self._directory / "gates"
        gates.mkdir()
        prepare_gates(gates)
        os.environ["GATES_DIRECTORY"] = str(gates)
        self._stack.callback(os.environ.pop, "GATES_DIRECTORY")
        server = PrefectServer(self._directory, self._new_database())
        self._stack.callback(server.close)
        server.start()
        self._settings |= {
            "prefect_api_url": server.api_url,
            "prefect_work_pool": POOL,
            "execution_mode": "workpool",
        }
        for name in ("one", "two"):
            worker = ProbeWorker(
                self._directory,
                name,
                gates_directory=gates,
                lease_seconds=10,
                **self._settings,
            )
            self._workers.append(worker.run_process())
            self._stack.callback(worker.kill)

    def stop(self) -> None:
        """Stop the servers."""
        self._stack.close()

    @contextmanager
    def lend(self, storage: Storage, **settings: object) -> Iterator[RunningService]:
        """Yield the services with an empty database; ``settings`` are those of the services."""
        service = self._services_with(**settings)
        try:
            yield service
        finally:
            self._end_executions()
            asyncio.run(self._restore_content())

    def _services_with(self, **settings: object) -> BalancedService:
        key = repr(sorted(settings.items()))
        if key not in self._services:
            self._services[key] = self._start_services(**settings)
            for worker in self._workers:
                worker.wait_ready()
        return self._services[key]

    def _start_services(self, **settings: object) -> BalancedService:
        services: list[RunningService] = []
        for number in range(1 if self._name == WORKPOOL else 2):
            directory = self._directory / f"service-{len(self._services)}-{number}"
            directory.mkdir()
            values = {**self._settings, "prefect_home": self._directory / "prefect", **settings}
            service = RunningService(directory, PROBE_TYPES, **values)
            services.append(self._stack.enter_context(service))
        ports = [int(service.url.rsplit(":", 1)[1]) for service in services]
        addresses = [("127.0.0.1", port) for port in ports]
        proxy = self._stack.enter_context(tcp_proxy_to(*addresses))
        balanced = BalancedService(services, proxy.port)
        self._stack.callback(balanced.http.close)
        return balanced

    def _end_executions(self) -> None:
        """Cancel what the test has left; fail if an execution does not end."""
        service = self._services_with()  # it needs no API key
        for (execution_id,) in service.rows(_UNENDED):
            service.http.post(f"/api/executions/{execution_id}/cancel")
        wait_until(lambda: not service.rows(_OWNED), END_SECONDS)

    async def _read_content(self) -> Content:
        connection = await self._connect()
        try:
            return await Content.read(connection)
        finally:
            await connection.close()

    async def _restore_content(self) -> None:
        assert self._content is not None
        connection = await self._connect()
        try:
            for _ in range(MAX_DEADLOCKS):
                # The services work while the rows are deleted.
                with suppress(asyncpg.DeadlockDetectedError):
                    await self._content.write_rows(connection)
                    return
            await self._content.write_rows(connection)
        finally:
            await connection.close()

    async def _connect(self) -> asyncpg.Connection:
        url = str(self._settings["database_url"]).replace("+asyncpg", "")
        return await asyncpg.connect(url)


@pytest.fixture(scope="session")
def shared_setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedSetup]:
    """The set-up of ``--setup``, unless it is the embedded one."""
    setup = SharedSetup(setup_of(request.config), tmp_path_factory.mktemp("setup"))
    try:
        setup.start()
        yield setup
    finally:
        setup.stop()
