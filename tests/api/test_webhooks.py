"""Webhook deliveries: addresses, methods, bodies and limits."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, node
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService
from tests.support.webhook_calls import SECRET, count, hook, post, received

pytestmark = pytest.mark.behavior

MAX_BYTES = 1024 * 1024


@pytest.fixture
def running(service: RunningService) -> RunningService:
    service.save(hook())
    return service


def test_a_json_object_is_the_payload_as_it_is(running: RunningService):
    response = post(running, {"order": {"id": 7}, "a": None}, params={"q": "1"})
    assert set(response.json()) == {"success", "executionId"}
    assert response.json()["success"] is True
    assert received(running, response) == {"order": {"id": 7}, "a": None}
    (row,) = running.rows("SELECT triggerType, inputs FROM workflow_executions")
    assert row["triggerType"] == "webhook"
    assert json.loads(row["inputs"]) == {"hook": {"order": {"id": 7}, "a": None}}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_a_delivery(running: RunningService, method: str):
    response = running.http.request(
        method, "/api/webhook/w?a=1&b=x&b=y&c=", headers={"X-Some": "x"}
    )
    got = received(running, response)
    assert (got["body"], got["method"]) == (None, method)
    assert got["query"] == {"a": "1", "b": ["x", "y"], "c": ""}
    assert got["headers"]["user-agent"].startswith("python-httpx")


def test_head_is_a_delivery_without_a_response_body(running: RunningService):
    response = running.http.head("/api/webhook/w")
    assert (response.status_code, response.content) == (200, b"")
    assert count(running) == 1


def test_a_preflight_of_a_browser_does_not_start_an_execution(running: RunningService):
    headers = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
    assert running.http.options("/api/webhook/w", headers=headers).status_code == 200
    assert count(running) == 0
    assert running.http.request("TRACE", "/api/webhook/w").status_code == 405


@pytest.mark.parametrize("value", [[1, {"a": 2}], "text", 7, None, True])
def test_other_json_is_the_body(running: RunningService, value: object):
    got = received(running, post(running, value))
    assert got["body"] == value
    assert got["method"] == "POST"


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        ("application/vnd.api+json; charset=utf-8", b'{"a": 1}', {"a": 1}),
        ("Application/JSON", b"\xef\xbb\xbf[1]", [1]),
        (None, b'{"a": 1}', {"a": 1}),
        (None, b"[ERROR] disk", "[ERROR] disk"),
        ("text/plain", b'{"a": 1}', '{"a": 1}'),
        ("application/xml", "<ö/>".encode(), "<ö/>"),
        ("application/octet-stream", b"\xff\x00", {"encoding": "base64", "data": "/wA="}),
        ("application/x-www-form-urlencoded", b"a=1&b=x&b=%C3%B6&c=", None),
        ("application/json", b"", None),
    ],
)
def test_bodies_by_content_type(
    running: RunningService, content_type: str | None, content: bytes, expected: Any
):
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = running.http.post("/api/webhook/w", content=content, headers=headers)
    got = received(running, response)
    if "form" in str(content_type):
        expected = {"a": "1", "b": ["x", "ö"], "c": ""}
    assert (got if expected == {"a": 1} else got["body"]) == expected


def test_a_form_with_parts_keeps_its_files(running: RunningService):
    response = running.http.post(
        "/api/webhook/w",
        data={"name": "Ada", "tag": ["x", "y"]},
        files={"cv": ("cv.bin", b"\xff\x00", "application/octet-stream")},
    )
    assert received(running, response)["body"] == {
        "name": "Ada",
        "tag": ["x", "y"],
        "cv": {
            "fileName": "cv.bin",
            "contentType": "application/octet-stream",
            "size": 2,
            "encoding": "base64",
            "data": "/wA=",
        },
    }


def test_credentials_of_a_delivery_are_not_stored(running: RunningService):
    secrets = {
        "Authorization": "Bearer s3cret",
        "Cookie": "session=s3cret",
        "X-API-Key": "s3cret",
        "Proxy-Authorization": "s3cret",
        "Webhook-Signature": "v1,s3cret",
        "Api-Key": "s3cret",
        "X-Auth-Token": "s3cret",
        "X-CSRF-Token": "s3cret",
        "X-GitLab-Token": "s3cret",
        "X-Telegram-Bot-Api-Secret-Token": "s3cret",
    }
    response = running.http.post(
        "/api/webhook/w", headers={**secrets, "X-Event": "paid", "Content-Type": "text/plain"}
    )
    assert received(running, response)["headers"]["x-event"] == "paid"
    everything = [tuple(row) for row in running.rows("SELECT * FROM workflow_executions")]
    everything += [tuple(row) for row in running.rows("SELECT * FROM execution_logs")]
    assert "s3cret" not in str(everything)


@pytest.mark.parametrize(
    ("content_type", "content", "code", "said"),
    [
        ("application/json", b'{"a": ', "invalid_json", "the body is not valid JSON"),
        ("application/json", b'{"a": NaN}', "invalid_json", "NaN is not a JSON value"),
        ("application/json", b"\xff", "invalid_json", "not valid UTF-8 at byte 0"),
        ("application/json", b"[" * 200 + b"]" * 200, "invalid_body", "nested deeper"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), "invalid_form", "1000"),
        ("application/x-www-form-urlencoded", b"a=%FF", "invalid_form", "UTF-8"),
        ("application/x-www-form-urlencoded", b"a=\xff", "invalid_form", "UTF-8"),
        ("multipart/form-data", b"x", "invalid_form", "boundary"),
        ("multipart/form-data; boundary=b", b"no part", "invalid_form", "cannot be read"),
    ],
)
def test_a_body_that_contradicts_its_headers_starts_no_execution(
    running: RunningService, content_type: str, content: bytes, code: str, said: str
):
    response = running.http.post(
        "/api/webhook/w", content=content, headers={"Content-Type": content_type}
    )
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["code"] for error in response.json()["errors"]] == [code]
    assert said in response.json()["detail"]
    assert count(running) == 0


# Limits


def test_one_mebibyte_is_read(running: RunningService):
    response = running.http.post(
        "/api/webhook/w", content=b"x" * MAX_BYTES, headers={"Content-Type": "text/plain"}
    )
    assert len(received(running, response)["body"]) == MAX_BYTES


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 20 * MAX_BYTES])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_longer_body_is_cut_off(running: RunningService, size: int, chunked: bool):
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 65_536):
            yield b"x" * min(65_536, size - start)

    response = running.http.post("/api/webhook/w", content=pieces() if chunked else b"x" * size)
    assert response.status_code == 413
    # A length above the limit of all routes is rejected before the request reaches this route.
    detail = f"The body is longer than {MAX_BYTES} bytes (MAX_WEBHOOK_BODY_BYTES)"
    if not chunked and size > 10 * MAX_BYTES:
        detail = f"The body is larger than MAX_REQUEST_BODY_BYTES={10 * MAX_BYTES}"
    assert response.json()["detail"] == detail
    assert count(running) == 0


def test_a_content_length_above_the_limit_is_rejected_before_the_body(running: RunningService):
    connection = http.client.HTTPConnection(httpx.URL(running.url).netloc.decode(), timeout=60)
    try:
        connection.putrequest("POST", "/api/webhook/w")
        connection.putheader("Content-Length", str(MAX_BYTES + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_a_full_queue_is_a_429(tmp_path: Path, gates: Gates):
    limits = {"max_concurrent_executions": 1, "max_pending_executions": 1}
    with RunningService(tmp_path, PROBE_TYPES, **limits) as service:
        service.save(
            document(node("hook", "webhook"), node("held", "gate"), flow=("hook -> held",))
        )
        assert post(service, {}).status_code == 200
        gates.wait_for("held")
        assert post(service, {}).status_code == 200
        full = post(service, {})
        assert (full.status_code, full.headers["retry-after"]) == (429, "2")
        assert count(service) == 2
        gates.open("held")


# Addresses


def test_a_workflow_without_a_webhook_has_no_address(service: RunningService):
    service.save(document(node("start", "trigger"), node("end"), flow=("start -> end",)))
    response = post(service, {})
    assert response.status_code == 404
    assert response.json()["detail"] == "Workflow 'w' not found"
    assert post(service, {}, "nope").json()["detail"] == "Workflow 'nope' not found"
    service.save(
        document(node("start", "trigger"), node("inner", "webhook"), flow=("start -> inner",))
    )
    assert post(service, {}).status_code == 404
    assert count(service) == 0


def test_a_token_is_the_last_part_of_the_address(service: RunningService):
    service.save(hook(webhookToken="t0ken ü"))
    answers = [post(service, {}, path) for path in ("w", "w/t0ken", "w/wrong", "w/t0ken ü/")]
    assert [response.status_code for response in answers[:3]] == [404] * 3
    assert {response.json()["detail"] for response in answers[:3]} == {"Workflow 'w' not found"}
    assert count(service) == 0
    assert received(service, post(service, {"a": 1}, "w/t0ken ü")) == {"a": 1}
    service.save(hook())
    assert post(service, {}, "w/any").status_code == 404


def test_each_token_fires_its_own_webhook_alone(service: RunningService):
    names = ("open", "one", "two")
    tokens: dict[str, dict[str, Any]] = {
        "one": {"webhookToken": "t1"},
        "two": {"webhookToken": 2},
    }
    hooks = [node(name, "webhook", **tokens.get(name, {})) for name in names]
    ends = [node(f"end-{name}") for name in names]
    also = [node("start", "trigger"), node("end-start"), node("value", "manualInput")]
    arrows = [f"{name} -> end-{name}" for name in (*names, "start")]
    service.save(document(*hooks, *ends, *also, flow=tuple(arrows)))
    for path, fired in (("w", "open"), ("w/t1", "one"), ("w/2", "two")):
        response = post(service, {"for": fired}, path)
        assert received(service, response) == {"for": fired}
        logs = service.logs(response.json()["executionId"])
        ran = {i for i, log in logs.items() if log["status"] == "completed"}
        assert ran == {fired, f"end-{fired}", "value"}


def test_document_errors_are_reported_only_at_the_right_address(service: RunningService):
    broken = [node("hook", "webhook", webhookToken="t"), node("http", "http")]
    service.save(document(*broken, flow=("hook -> http",)))
    assert post(service, {}, "w/other").status_code == 404
    response = post(service, {}, "w/t")
    assert response.status_code == 422
    assert "'httpUrl' is required" in response.json()["detail"]
    assert count(service) == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"webhookSecret": "not base64!"}, "'webhookSecret' should be base64"),
        ({"webhookSecret": "whsec_"}, "'webhookSecret' should be base64"),
        ({"webhookSecret": [SECRET]}, "'webhookSecret' should be a string"),
        ({"webhookToken": "a/b"}, "'webhookToken' should not contain a slash"),
        ({"webhookToken": {"a": 1}}, "'webhookToken' should be a string"),
    ],
)
def test_an_unusable_secret_or_token_is_rejected(
    service: RunningService, config: dict[str, Any], said: str
):
    service.save(hook(**config))
    response = service.submit()
    assert response.status_code == 422
    assert said in response.json()["detail"]
    assert "not base64!" not in response.text
    assert post(service, {}).status_code == 404  # the response does not contain the reason
    assert count(service) == 0


def test_a_rerun_has_the_same_payload_unless_other_inputs_are_given(service: RunningService):
    service.save(
        document(node("start", "trigger"), *hook()["nodes"], flow=("hook -> end", "start -> end"))
    )
    first = post(service, {"n": 1}).json()["executionId"]
    assert service.ended(first)["finalOutput"] == {"n": 1}

    def rerun(**body: object) -> tuple[str, Any]:
        again = service.http.post(f"/api/executions/{first}/rerun", json=body).json()["executionId"]
        output = service.ended(again)["finalOutput"]
        query = "SELECT triggerType FROM workflow_executions WHERE id = ?"
        return service.rows(query, again)[0][0], output

    assert rerun() == ("webhook", {"n": 1})
    assert rerun(fromNodeId="end") == ("webhook", {"n": 1})
    assert rerun(inputs={"m": 2}) == ("manual", {"m": 2})
