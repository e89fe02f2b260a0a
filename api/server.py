"""uvicorn, as this service needs it: streams end before it waits for connections to end, and nobody
holds a connection by sending slowly.
"""

import asyncio
import math
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

WEBSOCKET_PING_INTERVAL_SECONDS = 15.0
WEBSOCKET_MESSAGE_BYTES = 64 * 1024
"""What a client may say at once."""
REQUEST_DRAIN_SECONDS = 5
"""How long requests may take beyond the time that running nodes are given."""
SLOW_READER_TIMEOUT_SECONDS = 1.0
"""How long a stop waits for clients to take what was sent to them."""


class _Connection(H11Protocol):
    """Ends when the head of a request takes longer than ``patience_seconds``, or the rest of one
    that is answered already.

    uvicorn waits for both as long as a byte comes now and then. The body of a request that has no
    answer yet is ``RequestBodyLimitMiddleware``'s to wait for.
    """

    def __init__(self, *args: Any, patience_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience_seconds = patience_seconds
        self._overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        if self.transport.get_protocol() is not self or (cycle and not cycle.response_complete):
            self._stop_watching()  # it is a WebSocket's now, or it is the service's turn
        elif self._overdue is None:
            self._overdue = self.loop.call_later(self._patience_seconds, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


class _WebSocket(WebSocketsSansIOProtocol):
    """May be refused with an answer of HTTP. uvicorn answers too, but logs an error every time."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


class Server(uvicorn.Server):
    """Serves an application of ``create_app``."""

    def __init__(self, app: FastAPI, shutdown_grace_seconds: float, head_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=cast("Any", partial(_Connection, patience_seconds=head_seconds)),
                log_config=None,
                access_log=False,
                ws=_WebSocket,
                ws_ping_interval=WEBSOCKET_PING_INTERVAL_SECONDS,
                ws_max_size=WEBSOCKET_MESSAGE_BYTES,
                timeout_graceful_shutdown=math.ceil(shutdown_grace_seconds) + REQUEST_DRAIN_SECONDS,
            )
        )
        self._app = app

    async def shutdown(self, sockets: Any = None) -> None:
        """Ends the streams, waits for requests, and then has the application shut down."""
        services = getattr(self._app.state, "services", None)
        if services is not None:
            services.hub.close()
        loop = asyncio.get_running_loop()
        cut_off = loop.call_later(SLOW_READER_TIMEOUT_SECONDS, self._cut_off_who_does_not_read)
        try:
            await super().shutdown(sockets)
        finally:
            cut_off.cancel()

    def _cut_off_who_does_not_read(self) -> None:
        """Else one client that hangs would hold up the stop until it is out of patience."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.Transport) and transport.get_write_buffer_size():
                transport.abort()
