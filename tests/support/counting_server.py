"""Counting server: counts HTTP requests by idempotency key and delays responses at gates.

Nodes of the type ``http`` call it. It is not part of the service, so it shows which nodes ran.
"""

import json
import select
import socket
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.documents import node
from tests.support.service import wait_until


class CallCounter:
    """Requests to the server, and its open gates."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._gone: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def node(self, node_id: str, gate: str | None = None, **config: object) -> dict[str, Any]:
        """Return a node that calls this server; the response waits until ``gate`` is open."""
        url = f"{self.url}/?gate={gate}" if gate else self.url
        return node(
            node_id, "http", **{"httpUrl": url, "httpMethod": "POST", "retries": 0, **config}
        )

    def open(self, *gates: str) -> None:
        """Send the responses that wait at these gates, now and in the future."""
        with self._lock:
            self._open.update(gates)

    def is_open(self, gate: str) -> bool:
        """Return whether ``gate`` is open."""
        with self._lock:
            return gate in self._open

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of requests by idempotency key."""
        with self._lock:
            return dict(self._counts)

    @property
    def gone(self) -> dict[str, int]:
        """Return the number of closed connections without a response by idempotency key."""
        with self._lock:
            return dict(self._gone)

    def of(self, execution_id: str) -> dict[str, int]:
        """Return the number of requests by node of an execution."""
        prefix = f"{execution_id}:"
        return {k.removeprefix(prefix): n for k, n in self.counts.items() if k.startswith(prefix)}

    def wait_for(self, execution_id: str, node_id: str, times: int = 1) -> None:
        """Wait until a node of an execution has made this number of requests."""
        wait_until(lambda: self.of(execution_id).get(node_id, 0) >= times)

    def count(self, key: str) -> int:
        """Count a request."""
        with self._lock:
            self._counts[key] += 1
            return self._counts[key]

    def leave(self, key: str) -> None:
        """Count a connection that was closed before the response."""
        with self._lock:
            self._gone[key] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler_for(visits: CallCounter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            key = self.headers.get("Idempotency-Key", "none")
            times = visits.count(key)
            for gate in parse_qs(urlsplit(self.path).query).get("gate", []):
                while not visits.is_open(gate):
                    if _hung_up(self.connection):
                        visits.leave(key)
                        return
            body = json.dumps({"visit": times}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            """Log nothing."""

        def handle(self) -> None:
            with suppress(OSError):  # a killed service receives no response
                super().handle()

    return Handler


def _hung_up(connection: socket.socket) -> bool:
    """Return whether the client has closed the connection."""
    readable, _, _ = select.select([connection], [], [], 0.01)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
