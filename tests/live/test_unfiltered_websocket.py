"""WebSocket without subscriptions: the client of the editor only authenticates and waits."""

from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosedError

from tests.support.access import ENTRIES, as_, caller, key_of, socket_of, token_for
from tests.support.documents import document, line, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import exchange, messages_until_end, receive, subscribe, websocket

pytestmark = pytest.mark.behavior

GATE = document(node("gate", "gate"), node("end"), flow=("gate -> end",))


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("guarded")
    with RunningService(directory, PROBE_TYPES, api_keys=ENTRIES) as service:
        for name in ("A", "B"):
            service.save(line(3), name)
            service.write("UPDATE workflows SET organizationId=? WHERE id=?", name, name)
        yield service


def start(service: RunningService, workflow_id: str) -> str:
    with caller(service, "admin") as client:
        response = client.post("/api/workflows/execute", json={"workflowId": workflow_id})
    assert response.status_code == 200
    return response.json()["executionId"]


def test_without_keys_a_client_receives_every_execution(service: RunningService):
    with websocket(service) as client:
        assert exchange(client, type="auth", token="anything") == {"type": "authenticated"}
        ids = [service.start(line(3)) for _ in range(2)]
        messages = [message for _ in ids for message in messages_until_end(client)]
        assert {message["executionId"] for message in messages} == set(ids)


def test_a_client_first_receives_snapshots_of_running_executions(
    service: RunningService, gates: Gates
):
    execution_id = service.start(GATE)
    gates.wait_for("gate")
    with websocket(service) as client:
        exchange(client, type="auth", token="anything")
        first = receive(client)
        assert (first["executionId"], first["snapshot"]) == (execution_id, True)
        gates.open("gate")
        assert messages_until_end(client)[-1]["type"] == "execution_complete"


@pytest.mark.parametrize(("name", "seen"), [("read", {"A", "B"}), ("a-read", {"A"})])
def test_a_key_receives_the_executions_it_may_access(
    guarded: RunningService, name: str, seen: set[str]
):
    with socket_of(guarded) as client:
        assert exchange(client, type="auth", token=key_of(name)) == {"type": "authenticated"}
        start(guarded, "B")
        last = start(guarded, "A")
        found: set[str] = set()
        ended: set[str] = set()
        while last not in ended or len(ended) < len(seen):
            message = receive(client)
            found.add(message["workflowId"])
            if message["type"] == "execution_complete":
                ended.add(message["executionId"])
        assert found == seen


def test_a_token_receives_its_one_execution(guarded: RunningService):
    own = start(guarded, "A")
    token = token_for(guarded, own)
    with socket_of(guarded) as client:
        exchange(client, type="auth", token=token)
        start(guarded, "A")
        assert {message["executionId"] for message in messages_until_end(client)} == {own}
        assert exchange(client, type="ping") == {"type": "pong"}


def test_a_wrong_token_receives_nothing(guarded: RunningService):
    with socket_of(guarded) as client:
        client.send('{"type": "auth", "token": "wrong"}')
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_after_a_subscription_a_client_receives_only_its_choice(
    service: RunningService, gates: Gates
):
    with websocket(service) as client:
        exchange(client, type="auth", token="anything")
        chosen = service.start(GATE)
        wait_until(lambda: receive(client)["currentNodeId"] == "gate")
        assert exchange(client, type="subscribe", executionId="none")["type"] == "error"
        other = service.start(line(3))
        assert {message["executionId"] for message in messages_until_end(client)} == {other}
        subscribe(client, executionId=chosen)
        service.ended(service.start(line(3)))
        gates.open("gate")
        assert {message["executionId"] for message in messages_until_end(client)} == {chosen}
        assert exchange(client, type="auth", token="again") == {"type": "authenticated"}
        service.ended(service.start(line(3)))
        assert exchange(client, type="ping") == {"type": "pong"}


def test_a_client_that_does_not_authenticate_receives_nothing(service: RunningService):
    with websocket(service) as client:
        service.ended(service.start(line(3)))
        assert exchange(client, type="ping") == {"type": "pong"}


def test_another_key_on_the_same_connection_receives_what_it_may_access(guarded: RunningService):
    with socket_of(guarded, headers=as_("b-admin")) as client:
        exchange(client, type="auth", token=key_of("b-admin"))
        assert exchange(client, type="auth", token=key_of("a-read")) == {"type": "authenticated"}
        start(guarded, "B")
        start(guarded, "A")
        assert {message["workflowId"] for message in messages_until_end(client)} == {"A"}
