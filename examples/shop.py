"""Shop: a small, intentionally slow HTTP server on loopback for the demo's workflow."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ORDERS = [
    {"orderId": 4711, "customerId": "C1", "article": "coffee beans, 1 kg", "total": 54.0},
    {"orderId": 4712, "customerId": "C2", "article": "espresso machine", "total": 1249.0},
    {"orderId": 4713, "customerId": "C3", "article": "paper filters", "total": 7.9},
    {"orderId": 4714, "customerId": "C1", "article": "grinder", "total": 620.0},
]
CUSTOMERS = [
    {"customerId": "C1", "name": "Café Aurora", "city": "Trieste", "contact": "Marta"},
    {"customerId": "C2", "name": "Kontoret AS", "city": "Bergen", "contact": "Jonas"},
    {"customerId": "C3", "name": "M. Okafor", "city": "Leeds", "contact": "Priya"},
]
STOCK = {"article": "coffee beans, 1 kg", "left": 6, "packSize": 40}


@contextmanager
def open_shop() -> Generator[str]:
    """Serve the shop during the block; yield its URL, ``http://127.0.0.1:<free port>``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="shop", daemon=True)
    thread.start()
    try:
        yield _url(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def pages_of(url: str) -> dict[str, str]:
    """Return the URLs of the shop that a workflow starts with, by name."""
    return {
        "orders": f"{url}/orders",
        "customers": f"{url}/customers",
        "depot": f"{url}/depots/nearest",
    }


def _url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


class _Shop(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Respond with the content of the path, after its delay."""
        depot = {
            "depot": "Hamburg",
            "links": {"stock": f"{_url(self.server)}/depots/hamburg/stock"},
        }
        pages: dict[str, tuple[float, object]] = {
            "/orders": (0.7, ORDERS),
            "/customers": (1.6, CUSTOMERS),
            "/depots/nearest": (0.5, depot),
            "/depots/hamburg/stock": (2.0, STOCK),
        }
        seconds, content = pages.get(self.path, (0.0, None))
        time.sleep(seconds)
        status = HTTPStatus.OK if content is not None else HTTPStatus.NOT_FOUND
        body = json.dumps(content or {"detail": f"there is no {self.path}"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is fixed
        """Log nothing, because the demo uses the terminal."""
