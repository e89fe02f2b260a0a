"""uvicorn, as this service needs it: streams end before it waits for connections to end."""

import math
import socket

import uvicorn
from fastapi import FastAPI

WEBSOCKET_PING_SECONDS = 15.0
WEBSOCKET_MESSAGE_BYTES = 64 * 1024
"""What a client may say at once."""
LAST_REQUESTS_SECONDS = 5
"""How long requests may take beyond the time that running nodes are given."""


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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams, waits for requests, and then has the application shut down."""
        services = getattr(self._app.state, "services", None)
        if services is not None:
            services.hub.close()
        await super().shutdown(sockets)
