"""Slow and vanished clients: do not affect other clients."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from api.streaming import broadcaster as broadcaster_module
from api.streaming.broadcaster import EventBroadcaster
from api.streaming.messages import Message
from api.streaming.subscription import QUEUE_SIZE, Subscription
from database.queries.results import SubscriptionFilter
from tests.support.documents import document, line, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import (
    parse,
    seqs,
    streamed_events,
    subscribe,
    subscription_count,
    unread_request,
    websocket,
)

BRANCHES = 150
PAYLOAD = {"text": "x" * 6_000}
SEND_BUFFER_BYTES = 16_384
"""Size of the send buffer of a connection, in bytes; its events total several MB."""


def hub_of(service: RunningService) -> EventBroadcaster:
    return service.app.state.services.broadcaster


def wide() -> dict[str, Any]:
    """Return a document whose gate is followed by hundreds of events of several KB."""
    branches = [node(f"b{i}", "addField", addFieldValue=i) for i in range(BRANCHES)]
    nodes = [node("start", "trigger"), node("gate", "gate"), *branches]
    return document(
        *nodes, flow=("start -> gate", *(f"gate -> {branch['id']}" for branch in branches))
    )


def lines_of(client: socket.socket) -> Iterator[str]:
    """Yield the lines of a chunked response."""
    with client.makefile("rb") as response:
        while response.readline().strip():  # the headers
            pass
        body = b""
        while size := int(response.readline(), 16):
            body += response.read(size)
            assert response.readline() == b"\r\n"
    yield from body.decode("utf-8").split("\n")


def test_a_client_that_does_not_read_delays_no_other_and_loses_nothing(
    service: RunningService, gates: Gates
) -> None:
    # Otherwise, the kernel may buffer all events of a client that does not read: up to 4 MB.
    service.listening_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    execution_id = service.start(wide(), inputs=PAYLOAD)
    gates.wait_for("gate")
    path = f"/api/executions/{execution_id}/stream?afterSeq=0"
    clients = [unread_request(service, path, buffer=4_096) for _ in range(3)]
    with websocket(service) as reading:
        hub = hub_of(service)
        wait_until(lambda: subscription_count(hub) == 3)
        subscribe(reading, executionId=execution_id)
        wait_until(lambda: subscription_count(hub) == 4)
        most = 0
        gates.open("gate")
        while service.poll(execution_id)["status"] == "running":
            most = max([most, *(len(s._queue) for s in subscriptions(hub))])
        assert most <= QUEUE_SIZE
        reading.recv(timeout=60)
    wait_until(lambda: [s.lagging for s in subscriptions(hub)] == [True] * 3)  # they are blocked
    assert service.ended(execution_id)["status"] == "completed"
    last = service.poll(execution_id)["seq"]
    assert last > 300
    for client in clients:
        with client:
            assert seqs(list(parse(lines_of(client)))) == list(range(1, last + 1))
    wait_until(lambda: subscription_count(hub) == 0)


def subscriptions(hub: EventBroadcaster) -> list[Subscription]:
    return list(hub._subscriptions)


@pytest.mark.parametrize("abruptly", [True, False])
def test_a_disconnected_client_is_removed_at_once(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch, abruptly: bool
) -> None:
    # No ping detects the end of a connection.
    monkeypatch.setattr(broadcaster_module, "PING_INTERVAL_SECONDS", 3_600.0)
    execution_id = service.start(document(node("gate", "gate")))
    gates.wait_for("gate")
    hub = hub_of(service)
    for path in (f"/api/executions/{execution_id}/stream", "/api/events"):
        client = unread_request(service, path)
        wait_until(lambda: subscription_count(hub) == 1)
        if abruptly:  # a reset instead of a FIN
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        wait_until(lambda: subscription_count(hub) == 0)
    with websocket(service) as client:
        subscribe(client, executionId=execution_id)
        wait_until(lambda: subscription_count(hub) == 1)
        client.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: subscription_count(hub) == 0)
    wait_until(lambda: not hub._tail._task)


def test_connections_leave_no_state_behind(service: RunningService, gates: Gates) -> None:
    execution_id = service.start(document(node("gate", "gate"), node("end"), flow=("gate -> end",)))
    gates.wait_for("gate")
    hub = hub_of(service)
    for _ in range(30):
        clients = [
            unread_request(service, f"/api/executions/{execution_id}/stream") for _ in range(5)
        ]
        clients.append(unread_request(service, "/api/events?organizationId=o"))
        for client in clients[:3]:
            client.recv(100)
        for client in clients:
            client.close()
    wait_until(lambda: subscription_count(hub) == 0)
    assert hub._subscriptions.is_empty
    assert not hub._tail._task
    signal = service.app.state.services.database.commit_signal
    # The cancelled task removes its listener.
    wait_until(lambda: hub._tail._on_commit not in signal._listeners)
    gates.open("gate")
    events = streamed_events(service, execution_id, 0)  # the stream still works
    assert seqs(events) == list(range(1, service.ended(execution_id)["seq"] + 1))


def test_a_subscription_drops_ended_executions(service: RunningService, gates: Gates) -> None:
    ended = service.run(line(2))["executionId"]
    runs = service.start(document(node("gate", "gate")))
    gates.wait_for("gate")
    hub = hub_of(service)
    with unread_request(service, f"/api/events?executionIds={ended},{runs}") as client:
        wait_until(lambda: hub._subscriptions.execution_ids == {runs})
        gates.open("gate")
        events = list(parse(lines_of(client)))
    assert [e.data["executionId"] for e in events if e.type == "execution_complete"] == [
        ended,
        runs,
    ]


def test_an_idle_stream_sends_pings(
    service: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster_module, "PING_INTERVAL_SECONDS", 0.1)
    execution_id = service.start(document(node("gate", "gate")))
    gates.wait_for("gate")
    with unread_request(service, f"/api/executions/{execution_id}/stream") as client:
        got = b""
        while got.count(b": ping\n\n") < 3:
            got += client.recv(10_000)
        gates.open("gate")
        while not got.endswith(b"0\r\n\r\n"):
            got += client.recv(10_000)
    assert got.count(b"event: execution_complete") == 1


def test_transient_messages_are_dropped_for_slow_clients() -> None:
    slow = Subscription(SubscriptionFilter())
    for i in range(QUEUE_SIZE):
        slow.push(Message("e", {"type": "t"}, position=i))
    slow.push(Message("e", {"type": "transient"}))
    assert not slow.lagging
    slow.push(Message("e", {"type": "t"}, position=QUEUE_SIZE))
    assert slow.lagging
    assert not slow._queue
