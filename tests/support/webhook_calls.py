"""Webhook calls: creates workflows with a webhook, signs deliveries and sends them."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx

from tests.support.documents import document, node
from tests.support.service import RunningService

KEY = b"a key of twenty-four byt"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def hook(**config: object) -> dict[str, Any]:
    """Return a document with a webhook and an output."""
    return document(node("hook", "webhook", **config), node("end"), flow=("hook -> end",))


def answering(*between: dict[str, Any], hook: dict[str, Any] | None = None, **response: object):
    """Return a chain of a webhook, the nodes ``between``, and a webhookResponse."""
    config = {f"webhookResponse{key}": value for key, value in response.items()}
    nodes = [hook or node("hook", "webhook"), *between, node("reply", "webhookResponse", **config)]
    ids = [item["id"] for item in nodes]
    arrows = tuple(f"{a} -> {b}" for a, b in pairwise(ids))
    return document(*nodes, flow=arrows)


def signed(body: bytes, *, message: str = "msg_1", secret: str = SECRET, age: float = 0):
    """Return the headers of a delivery that was signed ``age`` seconds ago."""
    moment = str(int((datetime.now(UTC) - timedelta(seconds=age)).timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.digest(key, f"{message}.{moment}.".encode() + body, "sha256")
    return {
        "webhook-id": message,
        "webhook-timestamp": moment,
        "webhook-signature": f"v1,{base64.b64encode(made).decode()}",
    }


def post(service: RunningService, value: object = None, path: str = "w", **more: Any):
    """Deliver JSON."""
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    content = more.pop("content", json.dumps(value).encode())
    return service.http.post(f"/api/webhook/{path}", content=content, headers=headers, **more)


def received(service: RunningService, answer: httpx.Response) -> Any:
    """Return the output of the webhook node."""
    assert answer.status_code == 200, answer.text
    done = service.ended(answer.json()["executionId"])
    assert done["status"] == "completed", done["error"]
    return done["finalOutput"]


def count(service: RunningService) -> int:
    """Return the number of executions."""
    return service.rows("SELECT count(*) FROM workflow_executions")[0][0]
