"""Requests of the http node: forms, an empty body, and forbidden headers."""

from base64 import b64encode
from typing import Any

import pytest

from engine.document import Node
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.registry import DEFAULT
from tests.support.http_calls import OK, call, call_error, sent_request
from tests.support.servers import Response, serve

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data"}


async def test_an_object_is_sent_as_a_form_if_its_content_type_is_that_of_one():
    body = {"grant_type": "client_credentials", "scope": "a b&c"}
    request = await sent_request(httpMethod="POST", httpHeaders=FORM, httpBody=body)
    assert request.body == b"grant_type=client_credentials&scope=a+b%26c"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ({"a": "Zoë", "b": 1, "c": True, "d": None, "e": ""}, b"a=Zo%C3%AB&b=1&c=true&e="),
        ({"tag": ["x", "y z"]}, b"tag=x&tag=y+z"),
        (
            {"card": {"number": 42, "exp": {"y": 30}}},
            b"card%5Bnumber%5D=42&card%5Bexp%5D%5By%5D=30",
        ),
        ({"items": [{"p": 1}, {"p": 2}]}, b"items%5B0%5D%5Bp%5D=1&items%5B1%5D%5Bp%5D=2"),
        ({"a&b": "=", "{{ n }}": "{{ v }}"}, b"a%26b=%3D&k=x+%26+y"),
        ({}, b""),
        ("a={{ v }}&b", b"a=x & y&b"),
    ],
)
async def test_the_values_of_a_form(body: Any, form: bytes):
    types = {"content-TYPE": " Application/X-WWW-Form-URLencoded ; charset=utf-8"}
    data = {"n": "k", "v": "x & y"}
    request = await sent_request(data, httpMethod="POST", httpHeaders=types, httpBody=body)
    assert request.body == form


async def test_the_input_is_sent_as_a_form_too():
    request = await sent_request({"a": "b c"}, httpMethod="POST", httpHeaders=FORM)
    assert request.body == b"a=b+c"


@pytest.mark.parametrize("headers", [FORM, MULTIPART])
@pytest.mark.parametrize("body", [[1], 5, True])
async def test_a_value_without_fields_is_rejected_as_a_form(headers: dict[str, str], body: Any):
    error = await call_error(
        "http://127.0.0.1/", httpMethod="POST", httpHeaders=headers, httpBody=body
    )
    assert "httpBody should be an object or a string for the Content-Type" in str(error)
    assert not error.retryable


async def test_a_form_with_parts_has_fields_and_files():
    pdf = b"%PDF-1.7 \x00\xff"
    body = {
        "title": "Zoë",
        "tags": ["a", "b"],
        "file": {"base64": b64encode(pdf).decode(), "contentType": "application/pdf"},
        "scan": {"encoding": "base64", "data": b64encode(b"x").decode(), "fileName": "s.bin"},
    }
    request = await sent_request(httpMethod="POST", httpHeaders=MULTIPART, httpBody=body)
    kind, _, boundary = request.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    parts = request.body.split(b"--" + boundary.encode())
    assert [part.split(b"\r\n\r\n")[1].removesuffix(b"\r\n") for part in parts[1:-1]] == [
        "Zoë".encode(),
        b"a",
        b"b",
        pdf,
        b"x",
    ]
    assert b'name="file"; filename="file"' in parts[4]
    assert b"Content-Type: application/pdf" in parts[4]
    assert b'name="scan"; filename="s.bin"' in parts[5]


async def test_a_boundary_that_is_set_stays():
    headers = {"Content-Type": "multipart/form-data; boundary=abc"}
    request = await sent_request(httpMethod="POST", httpHeaders=headers, httpBody={"a": "b"})
    assert request.headers["content-type"] == "multipart/form-data; boundary=abc"
    assert request.body.startswith(b"--abc\r\n")


async def test_a_file_that_is_not_base64_is_an_error_that_names_the_field():
    body = {"f": {"base64": "no base64!"}}
    error = await call_error(
        "http://127.0.0.1/", httpMethod="POST", httpHeaders=MULTIPART, httpBody=body
    )
    assert "field 'f' is not valid base64" in str(error)


@pytest.mark.parametrize("config", [{}, {"httpBody": {"a": 1}}])
async def test_a_post_without_a_body(config: dict[str, Any]):
    request = await sent_request({"a": 1}, httpMethod="POST", httpBodyMode=" None ", **config)
    assert request.body == b""
    assert request.headers["content-length"] == "0"
    assert "content-type" not in request.headers


# Headers

MANAGED = [
    *("Transfer-Encoding", "Content-Length", "Connection", "Keep-Alive", "TE", "Trailer"),
    *("Upgrade", "Expect", "HTTP2-Settings", "Proxy-Connection", "Proxy-Authorization"),
    *("proxy-authenticate", "content-LENGTH", " Transfer-Encoding ", "Transfer_Encoding"),
]
ODD = ["X A", "X-Ä", "Tran\u017ffer-Encoding", ":authority", "X-A:", "X-A\r\nHost", "X\0", "X-A\t1"]


@pytest.mark.parametrize("name", [*MANAGED, *ODD])
@pytest.mark.parametrize("as_table", [False, True])
def test_a_forbidden_header_is_rejected_at_submission(name: str, as_table: bool):
    headers: Any = [{"key": name, "value": "4"}] if as_table else {name: "4"}
    config = {"httpUrl": "http://x", "httpHeaders": headers}
    problems = DEFAULT.check(Node("n", "http", "N", config))
    assert [problem.code for problem in problems] == ["invalid_config"]
    assert "'httpHeaders" in problems[0].detail
    assert "header" in problems[0].detail


@pytest.mark.parametrize("name", [*MANAGED, *ODD])
async def test_a_forbidden_header_of_a_template_is_rejected_before_the_request(name: str):
    async with serve(OK) as server:
        error = await call_error(server.url, {"n": name}, httpHeaders={"{{ n }}": "4"})
        assert server.requests == []
    assert "httpHeaders" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    "name", ["Content-Length", "Proxy-Authorization", "Host", "X A", "{{ n }}"]
)
def test_a_forbidden_header_cannot_authenticate(name: str):
    auth = {"type": "header", "name": name, "value": "k"}
    problems = DEFAULT.check(Node("n", "http", "N", {"httpUrl": "http://x", "httpAuth": auth}))
    assert [problem.code for problem in problems] == ["invalid_config"]


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "a\0b", "a\x7fb", "a\x1bb"])
async def test_a_value_with_a_control_character_is_rejected(value: str):
    config = {"httpUrl": "http://x", "httpHeaders": {"X-A": value}}
    assert DEFAULT.check(Node("n", "http", "N", config))
    async with serve(OK) as server:
        for auth in (None, {"type": "bearer", "token": "{{ v }}"}):
            headers = {} if auth else {"X-A": "b{{ v }}c"}
            error = await call_error(server.url, {"v": value}, httpHeaders=headers, httpAuth=auth)
            assert "control character" in str(error)
        assert server.requests == []


async def test_another_host_header_requires_a_setting():
    async with serve(OK) as server:
        own = {"Host": server.url.removeprefix("http://")}
        await call(server.url, httpHeaders=own)
        error = await call_error(
            server.url, {"h": "other.example"}, httpHeaders={"hOst": "{{ h }}"}
        )
        assert "HTTP_ALLOW_HOST_HEADER=true" in str(error)
        assert not error.retryable
        assert len(server.requests) == 1
        enter_node_run(NodeRun(HandlerSettings(http_allow_host_header=True)))
        await call(server.url, httpHeaders={"Host": "other.example"})
        assert server.last.headers["host"] == "other.example"


# Redirects


@pytest.mark.parametrize("status", [307, 308])
async def test_a_body_is_not_sent_to_another_origin(status: int):
    async with serve(OK) as other:
        moved = Response(status, headers={"Location": f"{other.url}/x"})
        async with serve(moved) as home:
            error = await call_error(home.url, {"a": 1}, httpMethod="POST")
        assert other.requests == []
    assert f"redirects to another origin, {other.url}/x, and the body is not sent there" in str(
        error
    )
    assert not error.retryable


@pytest.mark.parametrize(("method", "status"), [("PUT", 301), ("PATCH", 308), ("DELETE", 307)])
async def test_no_method_sends_its_body_to_another_origin(method: str, status: int):
    async with serve(OK) as other:
        moved = Response(status, headers={"Location": f"{other.url}/x"})
        async with serve(moved) as home:
            await call_error(home.url, httpMethod=method, httpBody={"a": 1})
        assert other.requests == []


CREDENTIALS = {
    "Authorization": "Bearer k",
    "Cookie": "a=b",
    "X-Api-Key": "k",
    "X-GitLab-Token": "k",
    "X-Hub-Signature-256": "k",
    "Ocp-Apim-Subscription-Key": "k",
}


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 307), ("GET", 308), ("POST", 301), ("POST", 302), ("POST", 303), ("POST", 308)],
)
async def test_a_redirect_without_a_body_is_followed_without_credentials(method: str, status: int):
    async with serve(OK) as other:
        moved = Response(status, headers={"Location": f"{other.url}/x"})
        async with serve(moved) as home:
            kept = status == 308 and method == "POST"
            body = {"httpBodyMode": "none"} if kept else {"httpBody": {"a": 1}}
            body = {} if method == "GET" else body
            headers = {**CREDENTIALS, "X-Trace": "t"}
            await call(home.url, httpMethod=method, httpHeaders=headers, **body)
            assert home.last.headers["x-gitlab-token"] == "k"
        assert other.last.method == ("POST" if kept else "GET")
        assert other.last.body == b""
        assert other.last.headers["x-trace"] == "t"
        assert not {name.lower() for name in CREDENTIALS} & other.last.headers.keys()


async def test_a_redirect_within_the_origin_keeps_body_and_credentials():
    async with serve([Response(308, headers={"Location": "/x"}), OK]) as server:
        await call(server.url, {"a": 1}, httpMethod="POST", httpHeaders={"X-Api-Key": "k"})
        assert server.last.json == {"a": 1}
        assert server.last.headers["x-api-key"] == "k"


async def test_credentials_are_not_restored_after_a_redirect_to_another_origin():
    async with serve(OK) as home:
        back = Response(302, headers={"Location": f"{home.url}/back"})
        async with serve(back) as other:
            away = Response(302, headers={"Location": other.url})
            async with serve(away) as first:
                await call(first.url, httpHeaders={"X-Api-Key": "k"})
            assert "x-api-key" not in other.last.headers
        assert "x-api-key" not in home.last.headers
