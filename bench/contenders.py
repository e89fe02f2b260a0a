"""Contenders: services that run a chain of ten nodes, started as processes and called over HTTP."""

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from bench.client import BenchError, Client
from bench.service import START_SECONDS, WORKFLOW, free_port, running_process, running_service

ROOT = Path(__file__).resolve().parent
COMPARISON = ROOT.parent / ".venv-bench" / ("Scripts" if os.name == "nt" else "bin")
"""Executables of the environment with ``requirements-bench.txt``; ``make bench`` creates it."""


class Mode(StrEnum):
    """How a client learns about the end of its execution."""

    POLLED = "polled"
    WAITING = "waiting"
    STREAMED = "streamed"


class Api(Protocol):
    """Calls of one client; each thread has its own."""

    def start(self) -> str:
        """Submit an execution and return its id."""
        ...

    def has_ended(self, execution_id: str) -> bool:
        """Return whether an execution has completed."""
        ...

    def run(self, mode: Mode) -> None:
        """Submit an execution, and wait for its end in a mode other than ``POLLED``."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that runs."""

    pid: int
    started_in: float
    """Seconds from the start of its process until its first response."""
    api: Callable[[], Api]


@dataclass(frozen=True, slots=True)
class Contender:
    """A service and the modes in which it is measured."""

    name: str
    modes: Sequence[Mode]
    start: Callable[[Path], AbstractContextManager[Running]]
    reference: str | None = None
    """Name of the contender with which it is compared."""


class OurApi:
    """Calls of this service."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)

    def start(self) -> str:
        """See ``Api``."""
        return self._client.submit(WORKFLOW).body["executionId"]

    def has_ended(self, execution_id: str) -> bool:
        """See ``Api``."""
        return _is_completed(self._client.poll(execution_id).body["status"])

    def run(self, mode: Mode) -> None:
        """See ``Api``."""
        if mode is Mode.WAITING:
            state = self._client.submit(WORKFLOW, headers={"Prefer": "wait=60"}).body
            if not _is_completed(state["status"]):
                raise BenchError("an execution has not ended after 60 s")
        else:
            self._client.follow(self.start())

    def close(self) -> None:
        """See ``Api``."""
        self._client.close()


class DbosApi:
    """Calls of ``dbos_service``."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)

    def start(self) -> str:
        """See ``Api``."""
        return self._client.post("/runs").body["id"]

    def has_ended(self, execution_id: str) -> bool:
        """See ``Api``."""
        return _is_completed(self._client.get(f"/runs/{execution_id}").body["status"])

    def run(self, mode: Mode) -> None:
        """See ``Api``."""
        assert mode is Mode.WAITING
        self._client.post("/waited-runs")

    def close(self) -> None:
        """See ``Api``."""
        self._client.close()


def _is_completed(status: str) -> bool:
    """Return whether an execution has completed.

    Raises:
        BenchError: If it has failed.
    """
    if status.lower() in {"failed", "cancelled", "error"}:
        raise BenchError(f"an execution ended as '{status}'")
    return status.lower() in {"completed", "success"}


def ours(concurrency: int, postgres: str | None = None) -> Contender:
    """Return this service, on SQLite or on the PostgreSQL server at the URL ``postgres``."""

    @contextmanager
    def start(directory: Path) -> Generator[Running]:
        with (
            new_database(postgres) as url,
            running_service(directory, concurrency, {"DATABASE_URL": url or ""}) as service,
        ):
            yield Running(service.pid, service.started_in, lambda: OurApi(service.port))

    name = "ours, PostgreSQL" if postgres else "ours"
    return Contender(name, list(Mode), start, "DBOS, PostgreSQL" if postgres else "DBOS")


def dbos(postgres: str | None = None) -> Contender:
    """Return DBOS, on SQLite or on the PostgreSQL server at the URL ``postgres``."""

    @contextmanager
    def start(directory: Path) -> Generator[Running]:
        with new_database(postgres) as url:
            port = free_port()
            stored = url or f"sqlite:///{directory / 'dbos.sqlite'}"
            command = [str(COMPARISON / "python"), str(ROOT / "dbos_service.py"), str(port), stored]
            log = directory / "dbos.log"
            with running_process(command, port, directory, log) as (process, seconds):
                yield Running(process.pid, seconds, lambda: DbosApi(port))

    return Contender("DBOS, PostgreSQL" if postgres else "DBOS", [Mode.POLLED, Mode.WAITING], start)


def is_dbos_installed() -> bool:
    """Return whether the comparison environment exists."""
    return shutil.which("python", path=str(COMPARISON)) is not None


async def is_reachable(postgres: str) -> bool:
    """Return whether a PostgreSQL server answers at a URL."""
    try:
        async with asyncio.timeout(START_SECONDS):
            await _on_server(postgres, "SELECT 1")
    except (OSError, SQLAlchemyError):  # a timeout is an OSError too
        return False
    return True


@contextmanager
def new_database(postgres: str | None) -> Generator[str | None]:
    """Create a database on a server, yield its URL and drop it; ``None`` without a server."""
    if postgres is None:
        yield None
        return
    name = f"workflow_bench_{uuid.uuid4().hex[:12]}"
    asyncio.run(_on_server(postgres, f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def _on_server(postgres: str, statement: str) -> None:
    url = make_url(postgres).set(drivername="postgresql+asyncpg")
    # A database cannot be created in a transaction.
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()
