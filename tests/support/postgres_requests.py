"""PostgreSQL requests: counts the responses of a server, as a proxy reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import make_url

from tests.support.tcp_proxy import tcp_proxy_to

_HEADER_BYTES = 5
"""Size of the type and the length of a message."""
_READY, _IDLE, _NO_TLS = b"Z", b"I", b"N"


@dataclass(slots=True)
class Requests:
    """Numbers since the last ``clear``."""

    responses: int = 0
    """Responses for which the client may have waited: PostgreSQL's messages ``ReadyForQuery``."""
    transactions: int = 0
    """Those after which no transaction was open. A statement alone is a transaction too."""

    def clear(self) -> None:
        """Begin again."""
        self.responses = self.transactions = 0

    def of_connection(self) -> "_Stream":
        """Return the counter of a new connection."""
        return _Stream(self)


class _Stream:
    """Finds the messages in the bytes that a server sends over one connection."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._unread = b""
        self._is_started = False

    def read(self, data: bytes) -> None:
        """Count the messages that are complete now."""
        if not self._is_started:
            # The driver first requests TLS, and the server refuses it with a single byte.
            data, self._is_started = data.removeprefix(_NO_TLS), True
        self._unread += data
        while len(self._unread) >= _HEADER_BYTES:
            kind = self._unread[:1]
            size = 1 + int.from_bytes(self._unread[1:_HEADER_BYTES])
            if len(self._unread) < size:
                return
            if kind == _READY:
                self._requests.responses += 1
                self._requests.transactions += self._unread[_HEADER_BYTES:size] == _IDLE
            self._unread = self._unread[size:]


@contextmanager
def counted_requests(database_url: str) -> Iterator[tuple[Requests, str]]:
    """Yield the numbers, and the URL of a proxy to a database."""
    server, requests = make_url(database_url), Requests()
    target = (server.host or "127.0.0.1", server.port or 5432)
    with tcp_proxy_to(target, on_connection=lambda: requests.of_connection().read) as proxy:
        url = server.set(host="127.0.0.1", port=proxy.port)
        yield requests, url.render_as_string(hide_password=False)
