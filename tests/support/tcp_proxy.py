"""A way to a server that can be shut: connections break, and new ones are refused."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.ports import free_port


class AuthMiddleware:
    """An address on loopback that leads to another one for as long as it is open."""

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self._behind = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._server: asyncio.Server | None = None
        self._through: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Lets connections through, from now on."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    def shut(self) -> None:
        """Breaks those that are there, and refuses new ones."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._through:
            task.cancel()
        await asyncio.gather(*self._through, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._through.add(task)
        task.add_done_callback(self._through.discard)
        inside, outside = await asyncio.open_connection(*self._behind)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, outside))
                both.create_task(_copy(inside, writer))
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            outside.transport.abort()

    def start(self) -> None:
        """From now on it can be opened."""
        self._thread.start()

    def stop(self) -> None:
        """Shuts it for good."""
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def door_to(host: str, port: int) -> Iterator[AuthMiddleware]:
    """One that is open at first; it is there while the block runs."""
    door = AuthMiddleware(host, port)
    door.start()
    try:
        door.open()
        yield door
    finally:
        door.stop()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
