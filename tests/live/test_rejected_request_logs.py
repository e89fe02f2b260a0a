"""Requests without a key: cause no errors in the log, so that clients cannot fill it."""

import logging
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from logs import configure_logging
from tests.support.access import ENTRIES
from tests.support.log_records import records_of
from tests.support.service import RunningService

PAGE = "https://editor.example"
ANOTHER = Origin("https://x.example")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("guarded")
    with RunningService(directory, api_keys=ENTRIES, cors_origins=PAGE) as service:
        yield service


@pytest.fixture
def logged(restored_logging: None) -> Iterator[list[logging.LogRecord]]:
    """Log records of uvicorn, with the settings of the service."""
    configure_logging("INFO", "console")
    with records_of("uvicorn.error") as records:
        yield records


def loud(service: RunningService, records: list[logging.LogRecord]) -> list[str]:
    # The log record may follow the response; the next response follows the log record.
    assert service.http.get("/").status_code == 200
    return [record.getMessage() for record in records if record.levelno > logging.INFO]


REFUSED = {"/nope": 401, "/api/executions": 401, "/ws/": 401}


@pytest.mark.parametrize("path", REFUSED)
def test_a_websocket_at_another_path(
    guarded: RunningService, logged: list[logging.LogRecord], path: str
):
    with pytest.raises(InvalidStatus) as refusal:
        connect(guarded.url.replace("http:", "ws:") + path, proxy=None)
    answer = refusal.value.response
    assert answer.status_code == REFUSED[path]
    assert b'"detail":"An API key is required' in (answer.body or b"")
    assert loud(guarded, logged) == []


def test_a_websocket_of_another_origin(guarded: RunningService, logged: list[logging.LogRecord]):
    with pytest.raises(InvalidStatus) as refusal:
        connect(guarded.url.replace("http:", "ws:") + "/ws", origin=ANOTHER, proxy=None)
    assert refusal.value.response.status_code == 403
    assert loud(guarded, logged) == []


def test_a_websocket_at_a_path_that_is_not_there(
    service: RunningService, logged: list[logging.LogRecord]
):
    with pytest.raises(InvalidStatus) as refusal:
        connect(service.url.replace("http:", "ws:") + "/nope", proxy=None)
    assert refusal.value.response.status_code == 403
    assert loud(service, logged) == []


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NONSENSE = {
    "no HTTP": [b"\x16\x03\x01 hello\r\n\r\n"],
    "another upgrade": [HANDSHAKE.replace(b"websocket", b"h2c")],
    "a handshake without a key": [HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X")],
    "a message that is not UTF-8": [HANDSHAKE, b"\x81\x81\0\0\0\0\xff"],
    "a frame that is none": [HANDSHAKE, b"\xff\x81\0\0\0\0\xff"],
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_invalid_requests_are_not_logged_as_errors(
    guarded: RunningService, logged: list[logging.LogRecord], nonsense: str
):
    port = int(guarded.url.rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        for sent in NONSENSE[nonsense]:
            client.sendall(sent)
            assert client.recv(65_536)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass
    assert loud(guarded, logged) == []
