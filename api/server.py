"""HTTP server: uvicorn with limits, and a shutdown that ends streams before it waits for requests.

The service does not limit how slowly a client sends the head of a request. A reverse proxy does.
"""

import asyncio
import math
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

WEBSOCKET_PING_INTERVAL_SECONDS = 15.0
MAX_WEBSOCKET_MESSAGE_BYTES = 64 * 1024
"""Maximum size of a message from a WebSocket client, in bytes."""
REQUEST_DRAIN_SECONDS = 5
"""Timeout for requests at shutdown, in addition to the time for running nodes."""
SLOW_READER_TIMEOUT_SECONDS = 1.0
"""Timeout for clients at shutdown to read the data that was sent to them."""


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    """Rejects a handshake with an HTTP response, without the error that uvicorn logs for it."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


class Server(uvicorn.Server):
    """Serves an application of ``create_app``."""

    def __init__(self, app: FastAPI, shutdown_grace_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                log_config=None,
                access_log=False,
                ws=_WebSocketProtocol,
                ws_ping_interval=WEBSOCKET_PING_INTERVAL_SECONDS,
                ws_max_size=MAX_WEBSOCKET_MESSAGE_BYTES,
                timeout_graceful_shutdown=math.ceil(shutdown_grace_seconds) + REQUEST_DRAIN_SECONDS,
            )
        )
        self._app = app

    async def shutdown(self, sockets: Any = None) -> None:
        """End the streams, wait for requests, and then shut down the application."""
        services = getattr(self._app.state, "services", None)
        if services is not None:
            services.broadcaster.close()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(SLOW_READER_TIMEOUT_SECONDS, self._abort_slow_readers)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _abort_slow_readers(self) -> None:
        """Close connections with unread data, because one of them would delay the shutdown."""
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.Transport) and transport.get_write_buffer_size():
                transport.abort()
