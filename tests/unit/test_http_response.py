"""Results and errors of the http node for responses of a real server on loopback."""

import asyncio
import json
from typing import Any

import pytest

from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tests.support.http_calls import OK, call, call_error, error_for, result_for
from tests.support.ports import free_port
from tests.support.servers import Request, Response, never, serve

# The response


async def test_the_result_has_status_and_headers():
    result = await result_for(Response.of({"a": 1}, 201, X_Request_Id="r1"))
    assert result["success"] is True
    assert result["outputData"] == {"a": 1}
    assert result["statusCode"] == 201
    assert result["headers"]["x-request-id"] == "r1"
    assert json.dumps(result)


JSON = {"Content-Type": "application/json; charset=utf-8"}
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.parametrize(
    ("response", "output"),
    [
        (Response(200, '{"a": 1}', JSON), {"a": 1}),
        (Response(200, "[1]", {"Content-Type": "application/problem+json"}), [1]),
        (Response(200, "5", JSON), 5),
        (Response(200, "null", JSON), None),
        (Response(200, '"é"', JSON), "é"),
        (Response(200, "\ufeff[1]", JSON), [1]),
        (Response(200, "not json", JSON), {"response": "not json"}),
        (Response(200, "[NaN]", JSON), {"response": "[NaN]"}),
        (Response(200, "", JSON), {"response": ""}),
        # JSON by its content, not by its type
        (Response(200, ' {"a": 1}', TEXT), {"a": 1}),
        (Response(200, "[1]"), [1]),
        (Response(200, "{no json", TEXT), {"response": "{no json"}),
        (Response(200, "5", TEXT), {"response": "5"}),
        (Response(200, "grüß", TEXT), {"response": "grüß"}),
        (Response(200, "", TEXT), {"response": ""}),
        (Response(204), {"response": ""}),
        # charsets: the declared one; UTF-8 for an unknown one or one that does not decode text
        (
            Response(
                200, "grüß".encode("latin-1"), {"Content-Type": "text/plain; charset=latin-1"}
            ),
            {"response": "grüß"},
        ),
        (Response(200, "grüß", {"Content-Type": "text/plain; charset=nope"}), {"response": "grüß"}),
        (Response(200, "grüß", {"Content-Type": "text/plain; charset=hex"}), {"response": "grüß"}),
        (
            Response(200, "grüß", {"Content-Type": "text/plain; charset=idna"}),
            {"response": "grüß"},
        ),
        # invalid bytes become U+FFFD
        (Response(200, b"\xff", TEXT), {"response": "\ufffd"}),
        (
            Response(200, rb"\ud800", {"Content-Type": "text/plain; charset=unicode-escape"}),
            {"response": r"\ud800"},
        ),
    ],
)
async def test_a_json_body_is_parsed_and_another_is_text(response: Response, output: Any):
    assert (await result_for(response))["outputData"] == output


async def test_head_has_no_body():
    result = await result_for(Response(200, '{"a": 1}', JSON), httpMethod="HEAD")
    assert result["outputData"] == {"response": ""}
    assert result["headers"]["content-length"] == "8"


async def test_text_is_not_read_as_json():
    result = await result_for(Response(200, '{"a": 1}', JSON), httpResponseType="text")
    assert result["outputData"] == {"response": '{"a": 1}'}


async def test_json_is_parsed_regardless_of_its_content_type():
    result = await result_for(Response(200, "5", TEXT), httpResponseType="json")
    assert result["outputData"] == 5


@pytest.mark.parametrize("body", ["<html>", "", "[NaN]"])
async def test_invalid_json_is_an_error(body: str):
    error = await error_for(Response(200, body, TEXT), httpResponseType="json")
    assert "that is not JSON (httpResponseType)" in str(error)
    assert not error.retryable


async def test_json_of_a_response_without_a_body_is_null():
    assert (await result_for(Response(204), httpResponseType="json"))["outputData"] is None
    result = await result_for(Response(200), httpResponseType="json", httpMethod="HEAD")
    assert result["outputData"] is None


# Failures


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 410, 422])
async def test_a_4xx_is_an_error_at_once_with_the_first_500_characters_of_the_body(status: int):
    body = "ü" * 500 + "X" * 100
    error = await error_for(Response(status, body))
    assert not error.retryable
    assert f"returned {status} " in str(error)
    assert str(error).endswith(": " + "ü" * 500)


async def test_a_4xx_without_a_body():
    error = await error_for(Response(404), httpMethod="HEAD")
    assert str(error).endswith("returned 404 Not Found")


async def test_a_429_is_retried_after_the_seconds_that_the_server_names():
    error = await error_for(Response(429, "slow down", {"Retry-After": "17"}))
    assert error.retryable
    assert error.retry_after == 17
    assert "slow down" in str(error)


async def test_a_429_is_retried_after_the_date_that_the_server_names():
    error = await error_for(Response(429, "", {"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}))
    assert error.retryable
    assert error.retry_after == 0  # the date is in the past


async def test_a_429_without_a_delay_uses_the_delay_of_the_node():
    error = await error_for(Response(429))
    assert error.retryable
    assert error.retry_after is None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_is_retried(status: int):
    error = await error_for(Response(status, "down", {"Retry-After": "3"}))
    assert error.retryable
    assert error.retry_after == 3
    assert f"returned {status}" in str(error)
    assert str(error).endswith(": down")


async def test_a_rejected_connection_is_retryable_and_its_message_redacted():
    port = free_port()
    error = await call_error(f"http://ann:secret@127.0.0.1:{port}/path?key=secret")
    assert str(error) == f"GET http://127.0.0.1:{port}/path: the connection was refused"
    assert error.retryable


async def test_an_unknown_host_is_retryable():
    error = await call_error("http://does-not-exist.invalid/x")
    assert error.retryable
    assert str(error).startswith("GET http://does-not-exist.invalid/x: ")
    assert not str(error).endswith(": ")


async def test_a_connection_that_closes_without_a_response_is_retryable():
    async def hang_up(_request: Request) -> None:
        return None

    async with serve(hang_up) as server:
        error = await call_error(f"{server.url}/x")
    assert error.retryable
    assert str(error).startswith(f"GET {server.url}/x: ")
    assert "without sending a response" in str(error)


async def test_a_slow_server_is_a_timeout_that_names_the_limit():
    async with serve(never) as server:
        error = await call_error(server.url, timeoutSeconds=0.05)
    assert error.retryable
    assert str(error) == f"GET {server.url}/: no complete response within 0.05 s"


async def test_the_limit_comes_from_the_settings_when_the_node_has_none():
    enter_node_run(NodeRun(HandlerSettings(http_timeout_seconds=0.06)))
    async with serve(never) as server:
        error = await call_error(server.url)
    assert "within 0.06 s" in str(error)


async def test_the_timeout_applies_to_the_whole_response():
    error = await error_for(Response(200, "x" * 1000, pause=0.01), timeoutSeconds=0.2)
    assert "no complete response within 0.2 s" in str(error)


async def test_cancelling_ends_the_call():
    arrived = asyncio.Event()

    async def hold(request: Request) -> Response:
        arrived.set()
        return await never(request)

    async with serve(hold) as server:
        task = asyncio.create_task(call(server.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_broken_encoding_is_an_error_with_a_reason():
    error = await error_for(Response(200, b"no gzip", {"Content-Encoding": "gzip"}))
    assert error.retryable
    assert not str(error).endswith(": ")


# Redirects


async def test_redirects_are_followed():
    hop = Response(307, headers={"Location": "/there"})
    async with serve([hop, OK]) as server:
        result = await call(server.url, {"a": 1}, httpMethod="POST")
        assert result["outputData"] == {"ok": True}
        assert (server.last.method, server.last.path) == ("POST", "/there")
        assert server.last.json == {"a": 1}


async def test_ten_redirects_are_followed_and_an_eleventh_is_an_error():
    hop = Response(302, headers={"Location": "/again"})
    async with serve([hop] * 10 + [OK]) as server:
        assert (await call(server.url))["statusCode"] == 200
    async with serve(hop) as server:
        error = await call_error(server.url)
        assert len(server.requests) == 11
    assert "redirected more than 10 times" in str(error)
    assert not error.retryable


async def test_a_redirect_to_something_else_than_http_is_an_error():
    error = await error_for(Response(302, headers={"Location": "ftp://host/x"}))
    assert not error.retryable
    assert "ftp" in str(error)


async def test_a_304_is_a_success():
    result = await result_for(Response(304))
    assert result["statusCode"] == 304
