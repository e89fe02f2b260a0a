"""Example workflows: each runs unchanged, with default settings and without an API key.

The test resumes an example that waits for a person. The example that calls a public address ends
in the same way without a network.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.node_handlers import NODE_HANDLERS
from tests.support.mail_server import mail_server
from tests.support.service import RunningService, wait_until
from worker_setup import EXAMPLES

DOCUMENTS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(EXAMPLES.glob("*.json"))
}
FINAL_OUTPUTS: dict[str, Any] = {
    "hello-world": {"greeting": "Hello, world!"},
    "invite-everyone": [
        {"name": "Ada", "km": 3, "text": "Dear Ada, you are guest 1 of 3."},
        {
            "name": "Grace",
            "km": 480,
            "text": "Dear Grace, you are guest 2 of 3, and there is a bed for you.",
        },
        {"name": "Mary", "km": 12, "text": "Dear Mary, you are guest 3 of 3."},
    ],
    "pay": {"payment": "paid"},
    "approve-a-holiday": {"name": "Ada", "days": 5, "substitute": "Grace", "holiday": "approved"},
    "shipping-price": {"country": "AT", "price": 9},
    "sales-by-city": [
        {"City": "London", "Orders": 2, "Sales": 42},
        {"City": "New York", "Orders": 1, "Sales": 15.5},
    ],
    "wait-for-a-payment": {"orderId": "A-17", "amount": 30, "text": "Order A-17 is paid."},
    "remind-later": {"task": "Water the plants", "text": "Remember: Water the plants"},
    # The service of the tests has no mail server.
    "send-an-invoice": {"result": "not sent"},
    "greet-through-another": {
        "name": "Grace",
        "greeting": "Hello, Grace!",
        "letter": "Hello, Grace! Yours sincerely",
    },
}
ASKED = {
    "pay": ("ask", {"approved": True}),
    "approve-a-holiday": ("ask", {"approved": True, "data": {"substitute": "Grace"}}),
}
"""Examples with a waiting node: the id of the node and the body that resumes it."""
EVENTS = {"wait-for-a-payment": {"name": "order.paid", "key": "A-17", "payload": {"amount": 30}}}
"""Examples that wait for an event."""
WITHOUT_EXAMPLE = {"code", "python", "schedule", "splitColumns", "splitText", "sql"}
"""Node types without an example: ``code`` and ``python`` are disabled by default, ``sql`` needs a
database, and a ``schedule`` would start executions in every new database."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a new service with default settings."""
    directory = tmp_path_factory.mktemp("plain")
    with RunningService(directory, http_allowed_hosts=None) as service:
        yield service


def finish(service: RunningService, name: str, execution_id: str) -> dict[str, Any]:
    """Return the execution after it has ended; resume it first if it waits."""
    if name in ASKED:
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
        node_id, body = ASKED[name]
        path = f"/api/executions/{execution_id}/nodes/{node_id}/resume"
        assert service.http.post(path, json=body).status_code == 200
    if name in EVENTS:
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
        assert service.http.post("/api/events", json=EVENTS[name]).json()["deliveries"] == 1
    return service.ended(execution_id)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_example_runs_unchanged_from_a_new_database(plain: RunningService, name: str) -> None:
    saved = plain.http.get(f"/api/workflows/{DOCUMENTS[name]['id']}").json()
    assert saved["data"] == DOCUMENTS[name]["data"]
    validation = plain.http.post("/api/workflows/validate", json={"workflowId": saved["id"]})
    assert validation.json()["errors"] == []
    answer = plain.http.post("/api/workflows/execute", json={"workflowId": saved["id"]})
    assert answer.status_code == 200, answer.text
    done = finish(plain, name, answer.json()["executionId"])
    assert (done["status"], done["error"]) == ("completed", None)
    if isinstance(expected := FINAL_OUTPUTS.get(name), dict):
        assert expected.items() <= done["finalOutput"].items()
    elif expected is not None:
        assert done["finalOutput"] == expected


def test_an_example_that_has_no_key_takes_its_error_branch(plain: RunningService) -> None:
    answer = plain.submit("example-sort-a-message").json()
    done = plain.ended(answer["executionId"])
    assert done["finalOutput"]["team"] == "a person who sorts it"
    assert plain.logs(answer["executionId"])["topic"]["status"] == "error"


def test_an_example_sends_an_email_with_an_attachment(tmp_path: Path) -> None:
    with mail_server() as mail:
        settings = {"smtp_host": "127.0.0.1", "smtp_port": mail.port, "smtp_tls": "none"}
        with RunningService(tmp_path, smtp_from="shop@example.com", **settings) as service:
            inputs = {"email": "grace@example.com", "amount": 12}
            answer = service.submit("example-send-an-invoice", inputs=inputs).json()
            done = service.ended(answer["executionId"])
            assert done["finalOutput"]["result"] == "sent"
    (message,) = mail.messages
    (attachment,) = message.iter_attachments()
    assert mail.recipients == [["grace@example.com"]]
    assert message["Subject"] == "Your invoice of 12 euros"
    assert attachment.get_filename() == "invoice.txt"
    assert attachment.get_content().strip() == "Please pay 12 euros within two weeks."


@pytest.mark.parametrize(("approved", "payment"), [(True, "paid"), (False, "refused")])
def test_an_approval_selects_the_branch_of_its_response(
    plain: RunningService, approved: bool, payment: str
) -> None:
    body = {"workflowId": "example-pay", "inputs": {"amount": 7, "name": "Bob"}}
    execution_id = plain.http.post("/api/workflows/execute", json=body).json()["executionId"]
    wait_until(lambda: plain.poll(execution_id)["status"] == "waiting")
    assert plain.logs(execution_id)["ask"]["message"] == "Pay 7 to Bob?"
    path = f"/api/executions/{execution_id}/nodes/ask/resume"
    assert plain.http.post(path, json={"approved": approved}).status_code == 200
    assert plain.ended(execution_id)["finalOutput"]["payment"] == payment


@pytest.mark.parametrize(
    ("order", "status", "response"),
    [
        ({"id": 7}, 201, {"received": 7}),
        ({}, 422, {"error": "an order needs an id"}),
    ],
)
def test_a_webhook_gets_the_response_of_its_branch(
    plain: RunningService, order: dict[str, int], status: int, response: dict[str, object]
) -> None:
    answer = plain.http.post("/api/webhook/example-orders", json=order)
    assert (answer.status_code, answer.json()) == (status, response)


def test_every_kind_of_node_has_an_example() -> None:
    shown = {node["type"] for example in DOCUMENTS.values() for node in example["data"]["nodes"]}
    assert shown >= NODE_HANDLERS.keys() - WITHOUT_EXAMPLE - _others()


def _others() -> set[str]:
    """Node types that other tests of this process have registered."""
    return {
        name for name, task in NODE_HANDLERS.items() if not task.fn.__module__.startswith("tasks.")
    }


def test_an_example_calls_no_private_address() -> None:
    for name, example in DOCUMENTS.items():
        for node in example["data"]["nodes"]:
            if node["type"] == "http":
                host = httpx.URL(node["config"]["httpUrl"]).host
                assert "." in host, name
                assert not host.endswith((".local", ".internal")), name


def test_a_new_database_contains_no_demo_only_workflows(plain: RunningService) -> None:
    only = [json.loads(path.read_text("utf-8")) for path in EXAMPLES.glob("demo-workflows/*.json")]
    assert only
    for example in only:
        assert "./start.sh demo" in example["description"]
        assert plain.http.get(f"/api/workflows/{example['id']}").status_code == 404
