"""Canary: a secret that nodes send, echo and fail with is stored and logged nowhere."""

import base64
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from prefect import task

from database.tables import metadata
from logs import configure_logging
from tasks.config.base import fill
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.documents import document, node
from tests.support.postgres import Storage
from tests.support.probe_nodes import PROBES
from tests.support.servers import Request, Response, serving
from tests.support.service import RunningService

CANARY = "c4n4ry/sings+in the mine"
PIN = "4711081599"


@task(name="leak")
async def handle_leak(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    """Expose the secret in every way that a handler has, and fail."""
    secret = fill("text", node["config"]["text"], input_data)
    structlog.get_logger().warning("leaking", secret=secret, headers={"Authorization": "k3y"})
    logging.getLogger("other.library").error("it is %s", secret)
    if node["config"].get("fail"):
        raise RuntimeError(f"failed with {secret} and {quote(secret)}, " + "x" * 3_955 + secret)
    inside = base64.b64encode(b"before " + secret.encode() + b" and after").decode()
    coded = {"base64": inside, "json": json.dumps({"a": secret}), "url": quote(secret, safe="")}
    logging.getLogger("other.library").error("coded: %s", coded)
    return {"outputData": {"said": secret, secret: 1, "coded": coded}, "message": secret}


SHORTLY = {"User-Agent": "some client 1.000.0", "Cookie": "{{ secrets.CANARY }}"}
"""Headers with a fixed user agent, so that the echo is truncated at a fixed position."""


async def echo(request: Request) -> Response:
    """Return the request in the body and the headers; 500 for /fail, 403 for /refuse."""
    status = {"/fail": 500, "/refuse": 403}.get(request.path, 200)
    said = {"target": request.target, "headers": request.headers, "body": request.body.decode()}
    cut = "y" * 300 if status != 200 else ""
    return Response.of({"a": cut, **said}, status, Set_Cookie="session=s3ss10n", X_Echo=CANARY)


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_CANARY", CANARY)
    secrets_file = tmp_path / "secrets.json"
    secrets_file.write_text(json.dumps({"PIN": PIN}))
    monkeypatch.setenv("SECRETS_FILE", str(secrets_file))


def surfaces(service: RunningService, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    """Return all outputs of the service by name; add a line for each new output."""
    ids = [row["id"] for row in service.rows("SELECT id FROM workflow_executions")]
    out, err = capsys.readouterr()
    found = {
        "output": out.encode(),
        "log": err.encode(),
        "poll": b"".join(service.http.get(f"/api/executions/{i}").content for i in ids),
        "logs": b"".join(service.http.get(f"/api/executions/{i}/logs").content for i in ids),
        "list": service.http.get("/api/workflows/w/executions").content,
        "streams": b"".join(
            service.http.get(f"/api/executions/{i}/stream", params={"afterSeq": 0}).content
            for i in ids
            if service.poll(i)["status"] in ("completed", "failed", "cancelled")
        ),
    }
    for table in metadata.tables:
        rows = service.rows(f"SELECT * FROM {table}")
        found[table] = "\n".join(str(value) for row in rows for value in tuple(row)).encode()
    for path in [*service.path.parent.glob(f"{service.path.name}*"), *prefect_files(service)]:
        found[str(path)] = path.read_bytes()
    return found


def prefect_files(service: RunningService) -> list[Path]:
    return [path for path in service.settings.prefect_home.rglob("*") if path.is_file()]


def encodings_of(secret: str) -> list[bytes]:
    forms = [secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe=""), secret[:9]]
    forms += [base64.b64encode(f"{user}:{secret}".encode()).decode()[8:24] for user in ("", "u")]
    forms += [base64.b64encode(secret.encode()).decode()[:12], secret[-9:]]
    forms += [base64.b64encode(b"before " + secret.encode()).decode()[12:24]]
    return [text.encode() for text in forms]


TYPES = NodeTypes({**NODE_HANDLERS, **PROBES, "leak": handle_leak}, NODE_CONFIGS)


def http(node_id: str, url: str, **config: Any) -> dict[str, Any]:
    return node(node_id, "http", httpUrl=url, retryDelaySeconds=0, onError="continue", **config)


def leaky(url: str) -> dict[str, Any]:
    secret = "{{ secrets.CANARY }}"
    basic = {"type": "basic", "username": "u", "password": secret}
    bearer = {"type": "bearer", "token": secret}
    return document(
        node("start", "trigger"),
        http("query", url + "/ok", httpQuery={"q": secret}, httpAuth=basic),
        http("body", url + "/ok?k=" + secret, httpMethod="POST", httpBody={"a": secret, "b": [1]}),
        http("text", url + "/ok", httpMethod="POST", httpBody='{"pin": {{ secrets.PIN }} }'),
        http("retry", url + "/fail", httpHeaders={"X-Key": secret}, httpAuth=bearer, retries=1),
        http("refuse", url + "/refuse", httpHeaders=SHORTLY, httpMethod="POST"),
        http("nowhere", "http://127.0.0.1:9/{{ secrets.CANARY }}", retries=0),
        node("field", "addField", addFieldValue=secret + "{{ secrets.PIN | int }}"),
        node("number", "addField", addFieldValue="{{ secrets.PIN | int }}"),
        node("filter", "addField", addFieldValue="{{ secrets.CANARY | int }}", onError="continue"),
        node("held", "condition", conditionField="x", conditionValue=secret),
        node("asks", "approval", approvalMessage="say " + secret, timeoutSeconds=0.01),
        node("said", "leak", text=secret),
        node("failed", "leak", text=secret, fail=True, retries=1, retryDelaySeconds=0),
        flow=(
            *(f"start -> {first}" for first in FIRST.split()),
            *("said -> asks", "asks -> failed", "field -> failed"),
        ),
    )


FIRST = "query body text retry refuse nowhere field number filter held said"


@pytest.mark.usefixtures("_secrets", "restored_logging")
@pytest.mark.parametrize(
    ("storage", "log_format"),
    [("sqlite", "console"), ("sqlite", "json"), ("postgresql", "json")],
    indirect=["storage"],
)
def test_a_secret_is_found_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: Storage, log_format: Any
):
    configure_logging("DEBUG", log_format)
    file = tmp_path / "secrets.json"
    with (
        serving(echo) as url,
        RunningService(tmp_path, TYPES, secrets_file=file, **storage) as service,
    ):
        workflow = leaky(url)
        done = service.run(workflow, inputs={"x": 1})
        logs = service.logs(done["executionId"])
        tried = b"".join(
            service.http.post(
                "/api/nodes/execute",
                json={"workflowId": "w", "nodeId": n["id"], "nodeType": n["type"], "node": n},
            ).content
            for n in workflow["nodes"]
        )
        found = {**surfaces(service, capsys), "tried": tried}

    # The secret was used: the echo was received, and retries and failures occurred.
    assert done["status"] == "failed"
    assert logs["query"]["outputData"]["target"] == "/ok?q=***"
    assert logs["query"]["outputData"]["headers"]["authorization"].startswith("Basic ")
    assert "***" in logs["query"]["outputData"]["headers"]["authorization"]
    assert json.loads(logs["body"]["outputData"]["body"]) == {"a": "***", "b": [1]}
    assert logs["text"]["outputData"]["body"] == '{"pin": *** }'
    assert logs["retry"]["attempt"] == 2
    assert "returned 500" in logs["retry"]["lastError"]
    assert '"cookie": "*' in logs["refuse"]["error"]  # truncated there, after the masking
    assert logs["number"]["outputData"]["newField"] == "***"
    assert logs["said"]["outputData"]["said"] == "***"
    assert logs["said"]["outputData"]["coded"]["url"] == "***"
    assert logs["said"]["outputData"]["coded"]["json"] == '{"a": "***"}'
    assert "***" in logs["said"]["outputData"]["coded"]["base64"]
    assert any(b"leaking" in text for text in found.values())
    assert any(b"it is ***" in text for text in found.values())
    for name, text in found.items():
        for secret in (CANARY, PIN):
            assert [s for s in encodings_of(secret) if s in text] == [], f"{secret} in {name}"
        assert b"s3ss10n" not in text, name
        assert b"k3y" not in text, name
