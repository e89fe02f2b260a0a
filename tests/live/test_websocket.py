"""WebSocket protocol: responses, and errors that keep the connection open."""

import json

import pytest
from websockets.exceptions import ConnectionClosed

from api.routes.websocket import MAX_SUBSCRIPTIONS
from tests.support.documents import document, line, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import (
    exchange,
    messages_until_end,
    receive,
    subscribe,
    subscription_count,
    websocket,
)

pytestmark = pytest.mark.behavior

MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("hello", "should be a JSON object"),
    "JSON that is cut off": ('{"type": "subscribe"', "should be a JSON object"),
    "no object": ('["subscribe"]', "should be a JSON object"),
    "null": ("null", "should be a JSON object"),
    "bytes": (b'{"type": "ping"}', "should be a JSON object"),
    "30,000 levels": ("[" * 30_000, "should be a JSON object"),
    "no type": ("{}", "should be one of subscribe, unsubscribe, auth, ping"),
    "an unknown type": ('{"type": "listen"}', "should be one of subscribe, unsubscribe"),
    "a type that is not a string": (
        '{"type": {"a": 1}}',
        "should be one of subscribe, unsubscribe",
    ),
    "neither id": ('{"type": "subscribe"}', "either an executionId or an organizationId"),
    "both ids": (
        '{"type": "subscribe", "executionId": "a", "organizationId": "b"}',
        "either an executionId or an organizationId",
    ),
    "an unknown execution": ('{"type": "subscribe", "executionId": "nope"}', "'nope'"),
    "an id that is not a string": ('{"type": "subscribe", "executionId": 7}', "executionId"),
    "an empty id": ('{"type": "subscribe", "executionId": ""}', "executionId"),
    "an id with a lone surrogate": ('{"type": "subscribe", "executionId": "\\ud800"}', "not found"),
    "a NUL": ('{"type": "subscribe", "executionId": "a\\u0000"}', "executionId"),
    "a negative number": (
        '{"type": "subscribe", "executionId": "a", "afterSeq": -1}',
        "afterSeq",
    ),
    "a number beyond all": (
        '{"type": "subscribe", "executionId": "a", "afterSeq": 1e30}',
        "afterSeq",
    ),
    "5,000 digits": (
        '{"type": "subscribe", "executionId": "a", "afterSeq": ' + "9" * 5000 + "}",
        "JSON object",
    ),
    "no token": ('{"type": "auth"}', "token"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_gets_a_response_and_the_connection_stays_open(
    shared_service: RunningService, mistake: str
) -> None:
    sent, why = MISTAKES[mistake]
    with websocket(shared_service) as client:
        client.send(sent)
        response = receive(client)
        assert response["type"] == "error"
        assert why in response["detail"]
        assert exchange(client, type="ping") == {"type": "pong"}


def test_the_error_of_a_subscription_names_the_subscription(
    shared_service: RunningService,
) -> None:
    with websocket(shared_service) as client:
        response = exchange(client, type="subscribe", executionId="nope")
        assert response["executionId"] == "nope"


def test_a_message_that_is_too_big_ends_the_connection(shared_service: RunningService) -> None:
    with websocket(shared_service) as client:
        client.send("x" * 100_000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_one_connection_follows_many(shared_service: RunningService, gates: Gates) -> None:
    graph = document(node("gate", "gate"), node("end"), flow=("gate -> end",))
    ids = [shared_service.start(graph) for _ in range(5)]
    with websocket(shared_service) as client:
        for execution_id in ids:
            subscribe(client, executionId=execution_id, afterSeq=0)
            wait_until(lambda: receive(client)["currentNodeId"] == "gate")
        subscribe(client, executionId=ids[0])  # again: it replaces the first subscription
        assert receive(client)["snapshot"] is True
        response = exchange(client, type="unsubscribe", executionId=ids[1])
        assert response == {"type": "unsubscribed", "executionId": ids[1]}
        gates.open("gate")
        messages = [message for _ in range(4) for message in messages_until_end(client)]
        for execution_id in (ids[0], *ids[2:]):
            numbers = [m["seq"] for m in messages if m["executionId"] == execution_id]
            assert numbers == list(range(numbers[0], shared_service.ended(execution_id)["seq"] + 1))
        assert ids[1] not in {message["executionId"] for message in messages}
        assert exchange(client, type="ping") == {"type": "pong"}  # no other message was sent


@pytest.mark.one_process
def test_too_many_subscriptions_are_rejected_and_ended_ones_do_not_count(
    shared_service: RunningService, gates: Gates
) -> None:
    ended = shared_service.run(line(2))["executionId"]
    with websocket(shared_service) as client:
        for i in range(MAX_SUBSCRIPTIONS - 1):
            subscribe(client, organizationId=f"o{i}")
        for _ in range(3):
            subscribe(client, executionId=ended)
            assert len(messages_until_end(client)) == 1
        wait_until(lambda: followers(shared_service) == MAX_SUBSCRIPTIONS - 1)
        subscribe(client, organizationId="the last")
        response = exchange(client, type="subscribe", organizationId="one more")
        assert response["type"] == "error"
        assert f"{MAX_SUBSCRIPTIONS} subscriptions" in response["detail"]
        subscribe(client, organizationId="o1")  # an existing subscription
        exchange(client, type="unsubscribe", organizationId="o2")
        subscribe(client, organizationId="one more")
    wait_until(lambda: followers(shared_service) == 0)


def followers(service: RunningService) -> int:
    return subscription_count(service.app.state.services.broadcaster)


def test_without_keys_the_organization_in_a_request_is_trusted(
    shared_service: RunningService,
) -> None:
    with websocket(shared_service) as client:
        assert exchange(client, type="auth", token="anything") == {"type": "authenticated"}
        client.send(json.dumps({"type": "ping", "more": 1}))
        detail = "more: unknown field; accepted are: type"
        assert receive(client) == {"type": "error", "detail": detail}
        client.send(json.dumps({"type": "ping"}))
        assert receive(client) == {"type": "pong"}
        client.send(json.dumps({"type": "subscribe", "executionID": "x"}))
        assert "did you mean 'executionId'?" in receive(client)["detail"]
        client.send(json.dumps({"type": "suscribe", "executionId": "x"}))
        assert "did you mean 'subscribe'?" in receive(client)["detail"]
