"""Fake processes: execution processes that a test controls, and a pool of them."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from database.executions.queue import Queue
from flows.processes.child_process import ChildProcess
from flows.processes.messages import Kind, parse_message
from flows.processes.process_pool import ProcessPool
from flows.worker.state import WorkerState


class FakeProcess:
    """A process that the test controls: it ends when ``end`` is set or at its stop."""

    def __init__(self, number: int) -> None:
        self.number = self.pid = number
        self.owners: list[str] = []
        self.node_runs = 0
        self.ends = True
        """Whether it ends when it is stopped."""
        self.wakes: list[Kind] = []
        self.stops: list[float] = []
        self.kills = 0
        self.requests: list[Any] = []
        self.on_message: Callable[..., None] | None = None
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def is_ready(self) -> bool:
        return bool(self.owners)

    async def run(self, on_message: Callable[..., None]) -> int:
        self.on_message = on_message
        return await self._exit

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message to the service; an error of its handling ends the process."""
        if kind == Kind.OWNER:
            self.owners.append(fields["owner"])
        assert self.on_message is not None
        try:
            self.on_message(self, {"kind": kind, **fields})
        except Exception as error:  # noqa: BLE001 - raised by ``run`` like in a real process
            self._exit.set_exception(error)

    def exit(self, code: int = 3) -> None:
        if not self._exit.done():
            self._exit.set_result(code)

    def wake(self, kind: Kind) -> None:
        self.wakes.append(kind)

    def write(self, data: bytes) -> None:
        self.requests.append(parse_message(data[4:]))

    def stop(self, grace_seconds: float) -> None:
        self.stops.append(grace_seconds)
        if self.ends:
            self.exit(0)

    def kill(self) -> None:
        self.kills += 1
        self.exit(-9)


class FakePool:
    """A pool of ready processes, and the calls of its service."""

    def __init__(self, processes: int, *, ready: bool = True) -> None:
        self.published: list[tuple[Any, ...]] = []
        self.commits = 0
        self.expired: list[str] = []
        self.processes: list[FakeProcess] = []
        self.state = WorkerState()
        self.pool = ProcessPool([b""] * processes, self._publish, self._commit)
        self._count, self._is_ready = processes, ready
        self._running: asyncio.Task[None] | None = None

    def _publish(self, *message: Any) -> None:
        self.published.append(message)

    def _commit(self) -> None:
        self.commits += 1

    async def _expire(self, owners: list[str]) -> None:
        self.expired += owners

    async def _start(self, number: int, _: bytes) -> FakeProcess:
        process = FakeProcess(number)
        self.processes.append(process)
        return process

    async def __aenter__(self) -> Self:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(ChildProcess, "start", self._start)
        queue = cast("Queue", SimpleNamespace(expire=self._expire))
        self._running = asyncio.create_task(self.pool.run_forever(queue, self.state))
        await settle()
        if self._is_ready:
            for process in self.processes:
                process.send(Kind.OWNER, owner=f"owner {process.number}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.stop(0)
        assert self._running is not None
        await self._running
        self._patch.undo()


async def settle() -> None:
    """Let all tasks run that are ready."""
    for _ in range(10):
        await asyncio.sleep(0)


def now() -> float:
    return asyncio.get_running_loop().time()
