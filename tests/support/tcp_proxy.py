"""TCP proxy that can be closed, so that connections break, or paused, so that they hang.

With several targets, each connection uses the next one, as with a load balancer.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

from tests.support.ports import free_port

OnData = Callable[[bytes], None]


def _ignore(_data: bytes) -> None:
    pass


class TcpProxy:
    """Forwards connections on loopback to other addresses while it is open."""

    def __init__(
        self,
        *targets: tuple[str, int],
        on_connection: Callable[[], OnData] = lambda: _ignore,
        host: str = "127.0.0.1",
    ) -> None:
        """``on_connection`` returns what is called with the data of the target."""
        self.host = host
        self._on_connection = on_connection
        self.port = free_port()
        self._targets = cycle(targets)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tcp-proxy", daemon=True
        )
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def open(self) -> None:
        """Accept connections from now on."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(60)

    def close(self) -> None:
        """Break the current connections, and reject new ones."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)

    def pause(self) -> None:
        """Forward nothing, in current and in new connections, until ``resume``."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Forward everything that has arrived, and continue."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._forward, self.host, self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        target_reader, target_writer = await asyncio.open_connection(*next(self._targets))
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._copy(reader, target_writer, _ignore))
                directions.create_task(self._copy(target_reader, writer, self._on_connection()))
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            target_writer.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_data: OnData
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._flowing.wait()
                on_data(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    def start(self) -> None:
        """Start the thread of the proxy."""
        self._thread.start()

    def stop(self) -> None:
        """Close the proxy and stop its thread."""
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


@contextmanager
def tcp_proxy_to(
    *targets: tuple[str, int],
    on_connection: Callable[[], OnData] = lambda: _ignore,
    host: str = "127.0.0.1",
) -> Iterator[TcpProxy]:
    """Run an open proxy, which listens on ``host``, for the duration of the block."""
    proxy = TcpProxy(*targets, on_connection=on_connection, host=host)
    proxy.start()
    try:
        proxy.open()
        yield proxy
    finally:
        proxy.stop()
