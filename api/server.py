"""uvicorn, as this service needs it: streams end before it waits for connections to end."""

import asyncio
import math
from typing import Any

import uvicorn
from fastapi import FastAPI

WEBSOCKET_PING_SECONDS = 15.0
WEBSOCKET_MESSAGE_BYTES = 64 * 1024
"""What a client may say at once."""
LAST_REQUESTS_SECONDS = 5
"""How long requests may take beyond the time that running nodes are given."""


UNREAD_SECONDS = 1.0
"""How long a stop waits for clients to take what was sent to them."""


class Server(uvicorn.Server):
    """Serves an application of ``create_app``."""

    def __init__(self, app: FastAPI, shutdown_grace_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                ws="websockets-sansio",  # the other one is built on what websockets calls legacy
                ws_ping_interval=WEBSOCKET_PING_SECONDS,
                ws_max_size=WEBSOCKET_MESSAGE_BYTES,
                timeout_graceful_shutdown=math.ceil(shutdown_grace_seconds) + LAST_REQUESTS_SECONDS,
            )
        )
        self._app = app

    async def shutdown(self, sockets: Any = None) -> None:
        """Ends the streams, waits for requests, and then has the application shut down."""
        services = getattr(self._app.state, "services", None)
        if services is not None:
            services.hub.close()
        loop = asyncio.get_running_loop()
        cut_off = loop.call_later(UNREAD_SECONDS, self._cut_off_who_does_not_read)
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
