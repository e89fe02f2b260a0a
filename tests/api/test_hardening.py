"""Security headers, maximum body size, and requests of pages of other origins."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.access import ENTRIES, as_, key_of
from tests.support.documents import line, node
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService

MAX_BYTES = 2_048


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("small")
    with RunningService(directory, max_request_body_bytes=MAX_BYTES) as service:
        yield service


def raw(service: RunningService, request: bytes) -> bytes:
    """Send an incomplete request, and return the start of the response."""
    port = int(service.url.rpartition(":")[2])
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        client.sendall(request)
        response = b""
        while b"\r\n\r\n" not in response:
            got = client.recv(65_536)
            assert got, response
            response += got
        return response


HEAD = b"POST /api/workflows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_body_may_have_exactly_the_maximum_size(small: RunningService):
    body = json.dumps({"name": "n", "data": {"nodes": [node("a")]}}).encode()
    json_sent = {"Content-Type": "application/json"}
    before = row_counts(small)
    response = small.http.post(
        "/api/workflows", content=body.ljust(MAX_BYTES + 1), headers=json_sent
    )
    detail = f"The body is larger than MAX_REQUEST_BODY_BYTES={MAX_BYTES}"
    assert problem_of(response, 413)["detail"] == detail
    assert row_counts(small) == before
    response = small.http.post("/api/workflows", content=body.ljust(MAX_BYTES), headers=json_sent)
    assert response.status_code == 201


def test_a_large_content_length_is_rejected_before_the_body(small: RunningService):
    response = raw(small, HEAD + b"Content-Length: 99999999999\r\n\r\n{")
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in response


def test_a_large_body_without_content_length_is_rejected_while_it_arrives(small: RunningService):
    chunk = b"400\r\n" + b" " * 0x400 + b"\r\n"
    response = raw(small, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    assert response.startswith(b"HTTP/1.1 413 ")
    # Two parts are within the limit, so that the service waits for the rest.
    whole = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"2\r\n{}\r\n0\r\n\r\n"
    assert raw(small, whole).startswith(b"HTTP/1.1 422 ")


def test_the_default_maximum_is_ten_mebibytes(service: RunningService):
    assert service.settings.max_request_body_bytes == 10 * 1024 * 1024
    document = {"id": "big", "name": "n", "data": line(2) | {"note": "x" * 10_000_000}}
    assert service.http.post("/api/workflows", json=document).status_code == 201
    document["data"]["note"] *= 2
    problem_of(service.http.post("/api/workflows", json=document), 413)


def test_nesting_is_limited(small: RunningService):
    deep = b"[" * 201 + b"]" * 201
    body = b'{"name": "n", "data": {"nodes": ' + deep + b"}}"
    response = small.http.post(
        "/api/workflows", content=body, headers={"Content-Type": "application/json"}
    )
    problem_of(response, 422)


# Headers

SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


def test_every_response_has_the_security_headers(shared_service: RunningService):
    service = shared_service
    execution_id = service.start(line(3))
    service.ended(execution_id)
    for path, status, cached in (
        ("/", 200, "no-store"),
        ("/api/executions", 200, "no-store"),
        (f"/api/executions/{execution_id}", 200, "no-cache"),
        ("/api/executions/nothing-there", 404, "no-store"),
        ("/api/executions?limit=x", 422, "no-store"),
        ("/nothing-there", 404, "no-store"),
        ("/docs", 200, "no-store"),
        ("/openapi.json", 200, "no-store"),
        ("/api/workflows/w", 200, "no-cache"),
        (f"/api/executions/{execution_id}/stream", 200, "no-cache"),
    ):
        response = service.http.get(path)
        assert response.status_code == status
        assert {name: response.headers.get(name) for name in SAFE} == SAFE, path
        assert response.headers["cache-control"] == cached, path


def test_an_internal_error_has_the_security_headers(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr("database.queries.listings.Listings.executions", fail)
    response = service.http.get("/api/executions")
    problem_of(response, 500)
    assert {name: response.headers.get(name) for name in SAFE} == SAFE


# Pages of other origins


def preflight(service: RunningService, origin: str) -> dict[str, str]:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-api-key,content-type",
    }
    return dict(service.http.options("/api/workflows/execute", headers=asked).headers)


@pytest.mark.parametrize("origins", ["*", "https://editor.example, https://other.example"])
def test_a_preflight_requires_no_key_but_its_request_does(
    tmp_path_factory: pytest.TempPathFactory, origins: str
):
    directory = tmp_path_factory.mktemp("cors")
    page = "https://editor.example"
    allowed = "*" if origins == "*" else page
    with RunningService(directory, api_keys=ENTRIES, cors_origins=origins) as service:
        headers = preflight(service, page)
        assert headers["access-control-allow-origin"] == allowed
        assert "authorization" in headers["access-control-allow-headers"]
        credentials = None if origins == "*" else "true"
        assert headers.get("access-control-allow-credentials") == credentials
        for headers, status in (({}, 401), ({"X-API-Key": key_of("read")}, 200)):
            response = service.http.get("/api/executions", headers={"Origin": page, **headers})
            assert response.status_code == status
            # The page needs these headers to read the error.
            assert response.headers["access-control-allow-origin"] == allowed
            assert response.headers.get("access-control-allow-credentials") == credentials
        if origins != "*":
            assert "access-control-allow-origin" not in preflight(service, "https://evil.example")
            sent = {"Origin": "https://evil.example", **as_("read")}
            response = service.http.get("/api/executions", headers=sent)
            assert "access-control-allow-origin" not in response.headers
