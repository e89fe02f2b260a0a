"""Stream clients: read Server-Sent Events as browsers do, and WebSockets."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from api.streaming.broadcaster import EventBroadcaster
from tests.support.http_clients import client_of
from tests.support.service import RunningService

ENDS = ("execution_complete", "execution_cancelled", "execution_error")
TIMEOUT = 60.0


def subscription_count(broadcaster: EventBroadcaster) -> int:
    """Return the number of open subscriptions."""
    return broadcaster.subscription_count


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Event of a stream."""

    id: str | None
    type: str
    data: dict[str, Any]


def parse(lines: Iterator[str]) -> Iterator[StreamEvent]:
    """Parse events by the rules of the HTML standard; reject unknown fields."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield StreamEvent(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name in ("id", "event", "data", "retry"), line
            assert name not in fields or name == "data", line
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value


@contextmanager
def sse(
    service: RunningService, path: str, last: object = None, **query: object
) -> Iterator[Iterator[StreamEvent]]:
    """Yield the events of a stream; the end of the block closes the connection."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    params: Any = query
    with (
        client_of(service.url, timeout=TIMEOUT) as http,
        http.stream("GET", path, headers=headers, params=params) as response,
    ):
        assert response.status_code == 200, response.read()
        yield parse(response.iter_lines())


def streamed_events(
    service: RunningService, execution_id: str, last: object = None, **query: object
) -> list[StreamEvent]:
    """Return all events of the stream of an execution."""
    with sse(service, f"/api/executions/{execution_id}/stream", last, **query) as events:
        return list(events)


@contextmanager
def websocket(service: RunningService) -> Iterator[ClientConnection]:
    """Open a WebSocket to the service."""
    url = service.url.replace("http://", "ws://") + "/ws"
    client = connect(url, close_timeout=1, max_size=None)
    with client:
        yield client


def exchange(client: Connection, **message: object) -> dict[str, Any]:
    """Send a message; return the response."""
    client.send(json.dumps(message))
    return receive(client)


def receive(client: Connection) -> dict[str, Any]:
    """Return the next message."""
    return json.loads(client.recv(timeout=TIMEOUT))


def messages_until_end(client: Connection) -> list[dict[str, Any]]:
    """Return the messages up to the end of an execution."""
    messages = [receive(client)]
    while messages[-1]["type"] not in ENDS:
        messages.append(receive(client))
    return messages


def subscribe(client: ClientConnection, **about: object) -> None:
    """Subscribe, and wait for the confirmation."""
    assert exchange(client, type="subscribe", **about)["type"] == "subscribed"


def unread_request(
    service: RunningService, path: str, buffer: int | None = None, **headers: str
) -> socket.socket:
    """Return a socket that has sent a request and reads no response.

    A small receive ``buffer`` limits the unread data in the kernel.
    """
    where = urlsplit(service.url)
    client = socket.socket()
    client.settimeout(TIMEOUT)
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect((where.hostname, where.port))
    lines = [f"GET {path} HTTP/1.1", f"Host: {where.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    return client


def shape(message: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the parts of a message that are the same on every transport."""
    nodes = [(log["nodeId"], log["status"], log["attempt"]) for log in message["logs"]]
    return (message["seq"], message["type"], message["status"], nodes, message["progress"])


def seqs(events: list[StreamEvent]) -> list[int]:
    """Return the sequence numbers, which must be the ids."""
    assert all(event.id == str(event.data["seq"]) for event in events)
    return [event.data["seq"] for event in events]
