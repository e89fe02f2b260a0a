"""Slow request bodies: rejected after a timeout, without effects."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.documents import document, node
from tests.support.log_records import records_of
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.problems import row_counts
from tests.support.service import RunningService
from tests.support.webhook_calls import answering

SECONDS = 0.4
BETWEEN_SECONDS = 0.05


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("hasty")
    with RunningService(directory, PROBE_TYPES, request_body_timeout_seconds=SECONDS) as service:
        service.save(answering())
        yield service


def drip(service: RunningService, start: bytes, byte: bytes, last: bytes | None = None) -> bytes:
    """Send ``start``, and then ``byte`` repeatedly until the service closes the connection.

    Returns the whole response, or its part up to ``last``.
    """
    port = int(service.url.rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        client.sendall(start)
        client.settimeout(BETWEEN_SECONDS)
        response = b""
        for _ in range(200):
            try:
                while piece := client.recv(65_536):
                    response += piece
                    if last is not None and response.endswith(last):
                        return response
            except TimeoutError:
                client.sendall(byte)  # the connection is still open
            except ConnectionError:
                return response
            else:
                return response
    raise AssertionError(f"the connection is still open after {response!r}")


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    named = (f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines)
    return "\r\n".join([*named, "", ""]).encode()


SIZED = "Content-Length: 1000"
LAST_CHUNK = b"\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
DRIPS = {SIZED: b" ", CHUNKED: b"1\r\n \r\n"}
PATHS = ("/api/webhook/w", "/api/workflows", "/api/workflows/execute", "/api/nodes/execute")


@pytest.mark.parametrize("framing", DRIPS)
@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_arrives_too_slowly_is_a_408(hasty: RunningService, path: str, framing: str):
    before = row_counts(hasty)
    response = drip(hasty, head(path, framing), DRIPS[framing])
    header_lines, _, body = response.partition(b"\r\n\r\n")
    status, *lines = header_lines.decode().lower().split("\r\n")
    assert status == "http/1.1 408 request timeout"
    assert {"content-type: application/problem+json", "connection: close"} <= set(lines)
    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Request Timeout",
        "status": 408,
        "detail": f"The body did not arrive within REQUEST_BODY_TIMEOUT_SECONDS={SECONDS}",
    }
    assert row_counts(hasty) == before


def test_a_body_that_arrives_in_pieces_but_in_time_is_accepted(shared_service: RunningService):
    def pieces() -> Iterator[bytes]:
        for byte in b'{"name": "n", "data": {"nodes": []}}':
            yield bytes([byte])

    sent = {"Content-Type": "application/json"}
    response = shared_service.http.post("/api/workflows", content=pieces(), headers=sent)
    assert response.status_code == 201, response.text


def hold(service: RunningService, gates: Gates, name: str) -> str:
    """Return the path of an execution whose node waits at the gate of this name."""
    service.save(document(node(name, "gate")), name)
    response = service.submit(name)
    gates.wait_for(name)
    return response.headers["location"]


def test_a_long_response_has_no_timeout(hasty: RunningService, gates: Gates):
    path = hold(hasty, gates, "long")
    with hasty.http.stream("GET", f"{path}/stream") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        # Another client is rejected in the meantime.
        assert b" 408 " in drip(hasty, head(PATHS[0], SIZED), b" ")
        gates.open("long")
        assert any("execution_complete" in line for line in lines)


def test_the_stream_of_an_endless_request_is_ended(hasty: RunningService, gates: Gates):
    path = hold(hasty, gates, "streamed")
    with records_of("uvicorn.error") as logged:
        response = drip(hasty, head(f"{path}/stream", SIZED, method="GET"), b" ", LAST_CHUNK)
    assert b"execution_progress" in response
    assert b"execution_complete" not in response
    assert [record.getMessage() for record in logged if record.levelno >= logging.ERROR] == []
