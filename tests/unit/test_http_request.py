"""Requests of the http node, sent to a real server on loopback."""

import base64
from typing import Any

import pytest

from tasks.context import NodeRun, enter_node_run
from tasks.masking import secret_masker
from tests.support.http_calls import OK, call, call_error, sent_request
from tests.support.servers import Response, serve

# The request


async def test_the_method_is_get_without_a_body_unless_another_is_set():
    request = await sent_request({"a": 1})
    assert (request.method, request.path, request.body) == ("GET", "/", b"")
    assert "content-type" not in request.headers


@pytest.mark.parametrize(
    "method", ["get", "POST", "Put", "PATCH", "DELETE", "HEAD", "OPTIONS", " post "]
)
async def test_methods_are_accepted_in_any_case(method: str):
    assert (await sent_request(httpMethod=method)).method == method.strip().upper()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("data", [{"a": "é"}, [1], "text", 0, False])
async def test_writing_methods_send_the_input_as_json_by_default(method: str, data: Any):
    request = await sent_request(data, httpMethod=method)
    assert request.json == data
    assert request.headers["content-type"] == "application/json"


async def test_without_an_input_no_body_is_sent():
    request = await sent_request(None, httpMethod="POST")
    assert request.body == b""
    assert "content-type" not in request.headers


@pytest.mark.parametrize("blank", [None, "", "  "])
async def test_a_blank_body_counts_as_missing(blank: str | None):
    assert (await sent_request({"a": 1}, httpMethod="POST", httpBody=blank)).json == {"a": 1}


async def test_an_object_as_body_is_sent_as_json_with_its_templates_filled():
    body = {"name": "{{ name }}", "tags": ["{{ tag }}!"], "{{ tag }}": 1, "n": None}
    request = await sent_request(
        {"name": {"first": "Zoë"}, "tag": "x"}, httpMethod="POST", httpBody=body
    )
    assert request.json == {"name": {"first": "Zoë"}, "tags": ["x!"], "x": 1, "n": None}
    assert request.headers["content-type"] == "application/json"


async def test_a_string_body_is_sent_unchanged_without_a_content_type():
    request = await sent_request({"name": "Zoë"}, httpMethod="POST", httpBody="Hello {{ name }}!")
    assert request.body == "Hello Zoë!".encode()
    assert "content-type" not in request.headers


async def test_a_string_body_of_json_is_sent_unchanged_as_json():
    request = await sent_request({"n": 5}, httpMethod="POST", httpBody='{ "n": {{ n }} }')
    assert request.body == b'{ "n": 5 }'
    assert request.headers["content-type"] == "application/json"


async def test_a_content_type_that_is_set_stays():
    headers = {"content-TYPE": "application/x-ndjson"}
    request = await sent_request(None, httpMethod="POST", httpBody='{"a":1}', httpHeaders=headers)
    assert request.headers["content-type"] == "application/x-ndjson"


async def test_a_body_of_one_placeholder_keeps_the_value():
    request = await sent_request({"rows": [1, 2]}, httpMethod="POST", httpBody="{{ rows }}")
    assert request.json == [1, 2]


async def test_a_body_that_is_set_is_sent_with_any_method():
    assert (await sent_request(httpMethod="DELETE", httpBody={"a": 1})).json == {"a": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-One": "{{ one }}", "X-Two": 2},
        [{"key": "X-One", "value": "{{ one }}"}, {"key": "X-Two", "value": 2, "id": "row-2"}],
        '{"X-One": "{{ one }}", "X-Two": 2}',
    ],
    ids=["object", "table", "text"],
)
async def test_headers_are_an_object_or_a_table(headers: Any):
    request = await sent_request({"one": "1 é"}, httpHeaders=headers)
    assert request.headers["x-one"] == "1 é"
    assert request.headers["x-two"] == "2"


async def test_rows_without_a_name_or_a_value_are_ignored():
    rows = [{"key": "", "value": "x"}, {"key": "X-A", "value": None}, {"key": "X-B", "value": ""}]
    request = await sent_request(httpHeaders=rows, httpQuery=rows)
    assert "x-a" not in request.headers
    assert request.headers["x-b"] == ""
    assert request.query == [("X-B", "")]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"X-A": "{{ v }}"}, "header 'X-A' would contain a line break"),
        ({"X A": "1"}, "'X A' is not a valid header name"),
        ({"X-Ä": "1"}, "'X-Ä' is not a valid header name"),
    ],
)
async def test_an_invalid_header_is_rejected_before_the_request(headers: Any, message: str):
    async with serve(OK) as server:
        error = await call_error(server.url, {"v": "a\r\nHost: evil"}, httpHeaders=headers)
        assert server.requests == []
    assert message in str(error)
    assert not error.retryable


async def test_templates_in_the_url_are_filled():
    request = await sent_request({"id": 7, "q": "é b"}, path="/users/{{ id }}?q={{ q }}")
    assert request.path == "/users/7"
    assert request.query == [("q", "é b")]


async def test_the_literal_part_of_a_url_does_not_change():
    request = await sent_request({"q": "a b"}, path="/x%2Fy/{{ q }}?z={{ q }}&w=1+2&flag")
    assert request.target == "/x%2Fy/a%20b?z=a%20b&w=1+2&flag"


@pytest.mark.parametrize(
    "query",
    [
        {"q": "{{ q }}", "n": 1, "b": True, "list": [1, "x"], "none": None},
        [
            {"key": "q", "value": "{{ q }}"},
            {"key": "n", "value": 1},
            {"key": "b", "value": True},
            {"key": "list", "value": "{{ list }}"},
        ],
    ],
    ids=["object", "table"],
)
async def test_the_query_is_added_to_that_of_the_url_and_encoded(query: Any):
    data = {"q": "a&b=ü c", "list": [1, "x"]}
    request = await sent_request(data, path="/p?first=%2F", httpQuery=query)
    assert request.target.startswith("/p?first=%2F&")
    assert request.query == [
        ("first", "/"),
        ("q", "a&b=ü c"),
        ("n", "1"),
        ("b", "true"),
        ("list", "1"),
        ("list", "x"),
    ]


@pytest.mark.parametrize(
    ("setting", "config"),
    [
        ("httpUrl", {"httpUrl": "http://127.0.0.1/{{ nope }}"}),
        ("httpHeaders 'X-A'", {"httpHeaders": {"X-A": "{{ nope }}"}}),
        ("httpQuery 'q'", {"httpQuery": {"q": "{{ nope }}"}}),
        ("httpBody", {"httpBody": {"a": "{{ nope }}"}}),
        ("httpAuth.token", {"httpAuth": {"type": "bearer", "token": "{{ nope }}"}}),
    ],
)
async def test_a_template_without_its_field_is_an_error_that_names_setting_and_field(
    setting: str, config: dict[str, Any]
):
    url = config.get("httpUrl", "http://127.0.0.1/")
    rest = {key: value for key, value in config.items() if key != "httpUrl"}
    error = await call_error(url, {}, **rest)
    assert str(error).startswith(f"{setting}: the input has no field 'nope'")
    assert not error.retryable


@pytest.mark.parametrize(
    ("rendered", "message"),
    [
        ("ftp://host/x", "should start with http:// or https://"),
        ("host/x", "should start with http:// or https://"),
        ("http:///x", "should contain a valid host name"),
        ("http://h:99999/", "should have a port up to 65535"),
        ("", "should start with http:// or https://"),
    ],
)
async def test_a_filled_url_that_is_not_callable_is_rejected(rendered: str, message: str):
    error = await call_error("{{ url }}", {"url": rendered})
    assert str(error).startswith("httpUrl ")
    assert message in str(error)
    assert not error.retryable


# Authentication


async def test_bearer_authentication():
    auth = {"type": "Bearer", "token": "{{ t }}"}
    assert (await sent_request({"t": "s3"}, httpAuth=auth)).headers["authorization"] == "Bearer s3"


async def test_basic_authentication():
    auth = {"type": "basic", "username": "ann", "password": "pä:ss"}
    header = (await sent_request(httpAuth=auth)).headers["authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ann:pä:ss"


async def test_header_authentication_replaces_a_header_of_the_same_name():
    auth = {"type": "header", "name": "X-API-Key", "value": "k{{ n }}"}
    request = await sent_request({"n": 1}, httpAuth=auth, httpHeaders={"x-api-key": "old"})
    assert request.headers["x-api-key"] == "k1"


@pytest.mark.parametrize("auth", [None, {}, {"type": ""}, {"type": "none"}, {"type": None}, ""])
async def test_no_authentication(auth: Any):
    assert "authorization" not in (await sent_request(httpAuth=auth)).headers


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "header", "name": "X-API-Key", "value": "k"}, "x-api-key"),
        ({"type": "bearer", "token": "k"}, "authorization"),
    ],
)
async def test_a_redirect_to_another_origin_does_not_receive_the_secret(
    auth: dict[str, Any], header: str
):
    async with serve(OK) as other:
        elsewhere = Response(302, headers={"Location": f"{other.url}/x"})
        async with serve(elsewhere) as home:
            await call(home.url, httpAuth=auth)
            assert header in home.last.headers
        assert other.last.path == "/x"
        assert header not in other.last.headers


async def test_a_redirect_to_another_origin_receives_no_credential_headers():
    secret_masker.add_secret("s3cret-of-the-table")
    headers = {"X-Api-Key": "typed", "X-Shop": "v1 s3cret-of-the-table", "X-Trace": "t"}
    async with serve(OK) as other:
        elsewhere = Response(302, headers={"Location": f"{other.url}/x"})
        async with serve(elsewhere) as home:
            await call(home.url, httpHeaders=headers)
            assert home.last.headers["x-shop"] == "v1 s3cret-of-the-table"
        kept = [name for name in other.last.headers if name.startswith("x-")]
        assert kept == ["x-trace"]


async def test_a_redirect_within_the_origin_keeps_the_secret():
    async with serve([Response(302, headers={"Location": "/x"}), OK]) as server:
        await call(server.url, httpAuth={"type": "header", "name": "X-API-Key", "value": "k"})
        assert server.last.path == "/x"
        assert server.last.headers["x-api-key"] == "k"


# The idempotency key


def _run_of_an_execution() -> None:
    enter_node_run(NodeRun(execution_id="e1", node_id="n1"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_writing_methods_send_the_idempotency_key(method: str):
    _run_of_an_execution()
    assert (await sent_request(httpMethod=method)).headers["idempotency-key"] == "e1:n1"


async def test_reading_methods_send_no_idempotency_key():
    _run_of_an_execution()
    assert "idempotency-key" not in (await sent_request(httpMethod="GET")).headers


async def test_an_idempotency_key_of_the_config_is_kept():
    _run_of_an_execution()
    request = await sent_request(httpMethod="POST", httpHeaders={"idempotency-KEY": "mine"})
    assert request.headers["idempotency-key"] == "mine"


async def test_a_previewed_node_sends_no_idempotency_key():
    assert "idempotency-key" not in (await sent_request(httpMethod="POST")).headers
