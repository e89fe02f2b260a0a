"""Large request bodies: parsed outside the event loop, according to their headers."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import document, node
from tests.support.responsiveness import Delays, bystander, watch
from tests.support.service import RunningService

EXECUTE = "/api/workflows/execute"


@pytest.fixture
def running(service: RunningService) -> RunningService:
    service.save(document(node("start", "trigger"), node("end"), flow=("start -> end",)))
    return service


def send(service: RunningService, body: bytes, content_type: str = "application/json", **more: str):
    headers = {"Content-Type": content_type, **more}
    return service.http.post(EXECUTE, content=body, headers=headers)


def inputs(text: str) -> bytes:
    return f'{{"workflowId": "w", "inputs": {{"start": {text}}}, "callbackUrl": 1}}'.encode()


SLOW_TO_PARSE: dict[str, Callable[[int], str]] = {
    "small numbers": lambda size: "[" + "1," * (size // 2) + "1]",
    "empty lists": lambda size: "[" + "[]," * (size // 3) + "1]",
    "nested lists": lambda size: "[" + ("[" * 150 + "]" * 150 + ",") * (size // 301) + "1]",
    "keys": lambda size: "{" + ",".join(f'"{number:x}":1' for number in range(size // 10)) + "}",
    "escapes": lambda size: '["' + "\\u0061" * (size // 6) + '"]',
    "halves of surrogate pairs": lambda size: '["' + "\\ud83d" * (size // 6) + '"]',
    "commas in a text": lambda size: '"' + "," * size + '"',
}
"""JSON texts of about a number of characters that take the longest to parse."""


@pytest.fixture(scope="module")
def at_rest(shared_service: RunningService) -> Delays:
    return watch(shared_service.url)


@pytest.mark.parametrize("size", [1_900_000, 9_900_000])
@pytest.mark.parametrize("what", SLOW_TO_PARSE)
def test_a_large_body_delays_no_other_request(
    shared_service: RunningService, at_rest: Delays, what: str, size: int
):
    body = inputs(SLOW_TO_PARSE[what](size))
    with bystander(shared_service.url) as probe:
        response = send(shared_service, body)
    # The callback URL is invalid, so that the service only parses the body.
    assert response.status_code == 422, response.text
    probe.delays.assert_requests_close_to(at_rest)


def test_the_number_of_values_is_a_setting(tmp_path: Path):
    with RunningService(tmp_path, max_body_values=1_000) as service:
        service.save(document(node("start", "trigger"), node("end"), flow=("start -> end",)))
        body: dict[str, Any] = {"workflowId": "w", "inputs": {"start": [0] * 990}}
        assert send(service, json.dumps(body).encode()).status_code == 200
        body["inputs"]["start"] = [",[{" * 1_000]  # a string counts once
        assert send(service, json.dumps(body).encode()).status_code == 200
        body["inputs"]["start"] = [[], {}] * 500
        response = send(service, json.dumps(body).encode())
        assert response.status_code == 422
        assert [error["code"] for error in response.json()["errors"]] == ["too_many_values"]
        assert "MAX_BODY_VALUES" in response.json()["detail"]


def test_a_large_body_is_validated_as_a_small_one(running: RunningService):
    padding = " " * 100_000
    wrong: list[dict[str, Any]] = [
        {"workflowId": 7},
        {"inputs": {}},
        {"workflowId": "w", "inputs": []},
    ]
    for body in wrong:
        text = json.dumps(body)
        small, large = (send(running, f"{text}{more}".encode()) for more in ("", padding))
        assert (small.status_code, small.json()) == (large.status_code, large.json())
    text = json.dumps({"workflowId": "w", "inputs": {"start": {"a": 1}}})
    response = send(running, f"{text}{padding}".encode())
    assert running.ended(response.json()["executionId"])["finalOutput"] == {"a": 1}
    broken = [send(running, f"{text},{more}".encode()) for more in ("", padding)]
    assert broken[0].status_code == 422
    assert broken[0].json() == broken[1].json()


@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json; charset=ISO-8859-1", "latin-1"),
        ('application/json; charset="UTF-8"', "utf-8"),
        ("application/vnd.x+json; charset=utf-16le", "utf-16le"),
    ],
)
def test_a_body_is_read_in_the_charset_that_it_names(
    running: RunningService, content_type: str, encoding: str, size: int
):
    text = '{"workflowId": "w", "inputs": {"start": {"city": "Köln"}}}' + " " * size
    response = send(running, text.encode(encoding), content_type)
    assert running.ended(response.json()["executionId"])["finalOutput"] == {"city": "Köln"}


def refused(response: httpx.Response, status: int, said: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert said in response.json()["detail"]


def test_the_headers_of_a_body_are_obeyed(running: RunningService):
    body = b'{"workflowId": "w"}'
    packed = gzip.compress(body, mtime=0)
    assert send(running, packed, **{"Content-Encoding": "gzip"}).status_code == 200
    refused(send(running, body, "application/json; charset=punycode"), 422, "'punycode'")
    refused(send(running, body, **{"Content-Encoding": "br"}), 415, "'br'")
    refused(send(running, body, **{"Content-Encoding": "gzip"}), 422, "not valid gzip")
    bomb = gzip.compress(b" " * 50_000_000, mtime=0)
    refused(send(running, bomb, **{"Content-Encoding": "gzip"}), 413, "MAX_REQUEST_BODY_BYTES")
    refused(send(running, body, "application/json" + "; a=b" * 2_000), 422, "4096 characters")
    assert running.rows("SELECT count(*) FROM workflow_executions")[0][0] == 1
