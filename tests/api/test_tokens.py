"""Tokens, keys and streams: the resources that a browser can access, and for how long."""

import json
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.connection import Connection

from api.routes import websocket
from api.streaming import broadcaster
from tests.support.access import ENTRIES, SECRET, as_, caller, key_of, socket_of, token_for
from tests.support.documents import document, line, node
from tests.support.fixtures import ConfiguredService
from tests.support.postgres import on_both, storage_on
from tests.support.probe_nodes import Gates
from tests.support.problems import problem_of
from tests.support.service import RunningService

pytestmark = pytest.mark.behavior

WAITS = document(node("ask", "approval"), node("end"), flow=("ask -true-> end",))


@pytest.fixture(scope="module")
def guarded(
    request: pytest.FixtureRequest, configured_service: ConfiguredService
) -> Iterator[RunningService]:
    settings = {"api_keys": ENTRIES, "token_secret": SECRET}
    with storage_on(request) as storage, configured_service(storage, **settings) as service:
        yield service


def start(service: RunningService, drawn: object = None, name: str = "a-run") -> str:
    with caller(service, name) as client:
        response = client.post("/api/workflows/execute", json={"graph": drawn or line(3)})
    assert response.status_code == 200, response.text
    return response.json()["executionId"]


def signed(execution_id: str, seconds: float, **other: object) -> str:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return jwt.encode({"sub": execution_id, "scope": "read", "exp": end, **other}, SECRET, "HS256")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def receive(socket: Connection) -> dict[str, Any]:
    return json.loads(socket.recv(10))


def closed_with(socket: Connection) -> int:
    with pytest.raises(ConnectionClosed) as end:
        deque(iter(lambda: socket.recv(10), None))
    assert end.value.rcvd is not None
    return end.value.rcvd.code


# Tokens over HTTP


@pytest.mark.essential
def test_a_token_reads_its_execution_until_it_expires(guarded: RunningService):
    execution_id = start(guarded)
    response = guarded.http.post(f"/api/executions/{execution_id}/token", headers=as_("a-read"))
    body = response.json()
    assert set(body) == {"token", "executionId", "expiresAt"}
    left = datetime.fromisoformat(body["expiresAt"]) - datetime.now(UTC)
    assert timedelta(seconds=890) < left <= timedelta(seconds=900)
    assert response.headers["cache-control"] == "no-store"
    path = f"/api/executions/{execution_id}"
    for rest in ("", "/logs", "/stream"):
        assert guarded.http.get(path + rest, headers=bearer(body["token"])).status_code == 200
    streamed = guarded.http.get(f"{path}/stream", params={"token": body["token"]})
    assert "event: execution_complete" in streamed.text


@on_both("guarded")
def test_a_token_cannot_access_other_resources(guarded: RunningService):
    execution_id, other = start(guarded), start(guarded)
    token = bearer(token_for(guarded, execution_id))
    for rest in ("", "/logs", "/stream"):
        response = guarded.http.get(f"/api/executions/{other}{rest}", headers=token)
        assert problem_of(response, 404)["detail"] == f"Execution '{other}' not found"
    path = f"/api/executions/{execution_id}"
    for method, closed in (
        ("POST", f"{path}/cancel"),
        ("POST", f"{path}/rerun"),
        ("POST", f"{path}/token"),
        ("GET", "/api/executions"),
        ("GET", f"/api/events?executionIds={execution_id}"),
        ("GET", "/api/workflows"),
        ("POST", "/api/workflows/execute"),
        ("GET", "/openapi.json"),
    ):
        problem_of(guarded.http.request(method, closed, headers=token), 403)


def test_a_token_in_the_query_is_accepted_only_by_the_stream(guarded: RunningService):
    execution_id = start(guarded)
    token = {"token": token_for(guarded, execution_id)}
    for rest in ("", "/logs"):
        response = guarded.http.get(f"/api/executions/{execution_id}{rest}", params=token)
        problem_of(response, 401)


def test_an_invalid_or_expired_token_is_rejected(guarded: RunningService):
    execution_id = start(guarded)
    good = token_for(guarded, execution_id)
    head, body, signature = good.split(".")
    bad = [
        signed(execution_id, -1),
        signed(execution_id, 60, scope="admin"),
        jwt.encode({"sub": execution_id, "scope": "read", "exp": 2**31}, "", "none"),
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}A.{signature}",
        jwt.encode({"sub": execution_id, "scope": "read", "exp": 2**31}, "x" * 32, "HS256"),
    ]
    path = f"/api/executions/{execution_id}/stream"
    for token in bad:
        problem_of(guarded.http.get(path, headers=bearer(token)), 401)
        problem_of(guarded.http.get(path, params={"token": token}), 401)
    assert guarded.http.get(path, headers=bearer(good)).status_code == 200


def test_no_token_is_created_for_an_unknown_execution(guarded: RunningService):
    for name in ("read", "a-read", "b-admin"):
        path = "/api/executions/nothing-there/token"
        problem_of(guarded.http.post(path, headers=as_(name)), 404)


def test_a_stream_ends_when_its_token_expires(
    guarded: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(broadcaster, "PING_INTERVAL_SECONDS", 0.1)
    execution_id = start(guarded, WAITS)
    token = signed(execution_id, 3)
    path = f"/api/executions/{execution_id}/stream"
    with guarded.http.stream("GET", path, params={"token": token}) as response:
        text = "".join(response.iter_text())
    assert guarded.http.get("/").status_code == 200  # the stream ended, not the service
    assert ": ping" in text
    assert "execution_complete" not in text
    problem_of(guarded.http.get(path, params={"token": token}), 401)


# Streams of many executions


@on_both("guarded")
def test_events_are_those_of_the_organization_of_the_key(guarded: RunningService, gates: Gates):
    drawn = document(node("n", "gate", gate="both"), node("end"), flow=("n -> end",))
    of_b, of_a = start(guarded, drawn, "b-admin"), start(guarded, drawn)
    gates.wait_for("both")
    with caller(guarded, "a-read") as client, client.stream("GET", "/api/events") as response:
        lines = response.iter_lines()
        next(line for line in lines if of_a in line)
        gates.open("both")
        events = []
        for text in lines:
            events.append(text)
            if text.startswith("event: execution_complete"):
                break
    assert not any(of_b in text for text in events)
    with caller(guarded, "a-read") as client:
        response = client.get("/api/events", params={"executionIds": f"{of_a},{of_b}"})
    assert problem_of(response, 404)["detail"] == f"Execution '{of_b}' not found"


# The WebSocket


@pytest.mark.parametrize("source", ["key in a message", "token in a message", "header", "query"])
def test_a_websocket_streams_to_an_authenticated_client(guarded: RunningService, source: str):
    execution_id = start(guarded)
    token = token_for(guarded, execution_id)
    query = f"?token={token}" if source == "query" else ""
    headers = as_("a-read") if source == "header" else None
    with socket_of(guarded, query, headers) as socket:
        if source.endswith("message"):
            credential = token if source.startswith("token") else key_of("a-read")
            socket.send(json.dumps({"type": "auth", "token": credential}))
            assert receive(socket) == {"type": "authenticated"}
        socket.send(json.dumps({"type": "subscribe", "executionId": execution_id}))
        assert receive(socket) == {"type": "subscribed", "executionId": execution_id}
        while (message := receive(socket))["type"] != "execution_complete":
            assert message["executionId"] == execution_id


FIRST = {
    "a wrong key": {"type": "auth", "token": "wos_nobody-s"},
    "a subscription": {"type": "subscribe", "executionId": "x"},
    "a ping": {"type": "ping"},
    "no command": {"type": "what"},
    "no object": [],
}


@pytest.mark.parametrize("first", list(FIRST.values()), ids=list(FIRST))
def test_a_websocket_whose_first_message_is_not_auth_is_closed(
    guarded: RunningService, first: object
):
    with socket_of(guarded) as socket:
        socket.send(json.dumps(first))
        assert closed_with(socket) == 4401


def test_a_websocket_with_an_invalid_credential_is_closed(guarded: RunningService):
    wrong = signed("x", -1)
    for query, headers in (
        (f"?token={wrong}", None),
        (f"?token={key_of('admin')}", None),
        ("", bearer(wrong)),
        ("", {"X-API-Key": "wos_nobody-s"}),
    ):
        with socket_of(guarded, query, headers) as socket:
            assert closed_with(socket) == 4401


def test_a_silent_websocket_is_closed(guarded: RunningService, monkeypatch: pytest.MonkeyPatch):
    assert websocket.AUTH_TIMEOUT_SECONDS == 10
    monkeypatch.setattr(websocket, "AUTH_TIMEOUT_SECONDS", 0.05)
    with socket_of(guarded) as socket:
        assert closed_with(socket) == 4401
    # An authenticated client may be silent for longer.
    with socket_of(guarded, headers=as_("a-read")) as socket:
        with pytest.raises(TimeoutError):
            socket.recv(0.3)
        socket.send('{"type": "ping"}')
        assert receive(socket) == {"type": "pong"}


@on_both("guarded")
def test_resources_of_other_tenants_are_unknown_on_a_websocket(guarded: RunningService):
    mine, theirs = start(guarded), start(guarded, name="b-admin")
    token = token_for(guarded, mine)
    for query, headers in (("", as_("a-admin")), (f"?token={token}", None)):
        with socket_of(guarded, query, headers) as socket:
            for execution_id in (theirs, "nothing-there"):
                socket.send(json.dumps({"type": "subscribe", "executionId": execution_id}))
                assert receive(socket) == {
                    "type": "error",
                    "detail": f"Execution '{execution_id}' not found",
                    "executionId": execution_id,
                }
            socket.send(json.dumps({"type": "subscribe", "organizationId": "B"}))
            response = receive(socket)
            assert (response["type"], response["organizationId"]) == ("error", "B")
            socket.send(json.dumps({"type": "subscribe", "executionId": mine}))
            assert receive(socket)["type"] == "subscribed"


def test_a_websocket_is_closed_when_its_token_expires_unless_it_is_renewed(
    guarded: RunningService, gates: Gates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(broadcaster, "PING_INTERVAL_SECONDS", 0.1)
    execution_id = start(guarded, WAITS)
    subscribe = json.dumps({"type": "subscribe", "executionId": execution_id})
    query = f"?token={signed(execution_id, 3)}"
    with socket_of(guarded, query) as renewed, socket_of(guarded, query) as left:
        for socket in (renewed, left):
            socket.send(subscribe)
            assert receive(socket)["type"] == "subscribed"
        renewed.send(json.dumps({"type": "auth", "token": signed(execution_id, 60)}))
        assert closed_with(left) == 4401
        with caller(guarded, "a-run") as client:
            path = f"/api/executions/{execution_id}/nodes/ask/resume"
            assert client.post(path, json={}).status_code == 200
        while receive(renewed)["type"] != "execution_complete":
            pass


def test_another_auth_on_a_websocket_ends_the_earlier_subscriptions(guarded: RunningService):
    execution_id = start(guarded, WAITS)
    subscribe = json.dumps({"type": "subscribe", "executionId": execution_id})
    with socket_of(guarded, headers=as_("a-read")) as socket:
        socket.send(subscribe)
        assert receive(socket)["type"] == "subscribed"
        socket.send(json.dumps({"type": "auth", "token": key_of("b-admin")}))
        while receive(socket)["type"] != "authenticated":
            pass
        with caller(guarded, "a-run") as client:
            client.post(f"/api/executions/{execution_id}/cancel")
        socket.send(subscribe)
        assert receive(socket)["detail"] == f"Execution '{execution_id}' not found"


def test_a_websocket_of_a_foreign_origin_is_rejected(tmp_path_factory: Any):
    directory = tmp_path_factory.mktemp("origins")
    with RunningService(directory, cors_origins="https://editor.example") as service:
        own = service.url
        for origin in ("https://editor.example", own):
            with socket_of(service, headers={"Origin": origin}) as socket:
                socket.send('{"type": "ping"}')
                assert receive(socket) == {"type": "pong"}
        for origin in ("https://evil.example", "null", "https://editor.example.evil.example"):
            with pytest.raises(InvalidStatus) as refusal:
                socket_of(service, headers={"Origin": origin})
            assert refusal.value.response.status_code == 403
