"""Errors of the llm node: missing key, missing server, and invalid responses."""

import asyncio
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tests.support.llm_calls import llm_error_for, run_llm
from tests.support.llm_server import serve_replies
from tests.support.ports import free_port
from tests.support.servers import Request, Response, never


async def test_a_missing_key_is_an_error_that_names_the_setting():
    enter_node_run(NodeRun(HandlerSettings()))
    node = {"id": "n1", "config": {"llmPrompt": "x"}}
    with pytest.raises(NodeError, match="OPENAI_API_KEY") as raised:
        await NODE_HANDLERS["llm"].fn(node, None)
    assert not raised.value.retryable


async def test_a_key_of_the_environment_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    enter_node_run(NodeRun(HandlerSettings()))
    with pytest.raises(NodeError, match="OPENAI_API_KEY"):
        await NODE_HANDLERS["llm"].fn({"id": "n1", "config": {"llmPrompt": "x"}}, None)


async def test_a_custom_server_requires_no_key():
    async with serve_replies("ok") as server:
        assert (await run_llm(server, key=None))["llmResponse"] == "ok"


@pytest.mark.parametrize("key", ["sk-ä", "sk-1\nsk-2"])
async def test_an_invalid_key_is_rejected_without_showing_it(key: str):
    with pytest.raises(NodeError, match="OPENAI_API_KEY") as raised:
        await run_llm("http://127.0.0.1:1/v1", key=key)
    assert "sk-" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:1234/v1", "http://h:x/v1"])
async def test_an_invalid_base_url_is_an_error_that_names_the_setting(url: str):
    with pytest.raises(NodeError, match="OPENAI_BASE_URL") as raised:
        await run_llm(url)
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (401, {"error": {"message": "Incorrect API key"}}, "Incorrect API key"),
        (403, {"error": {"message": "Not allowed"}}, "Not allowed"),
        (400, {"error": {"message": "Bad temperature"}}, "Bad temperature"),
        (404, {"error": "model 'x' not found"}, "model 'x' not found"),
        (404, {"detail": "Not Found"}, "Not Found"),
        (422, {"error": {"code": 7}}, '{"code":7}'),
        (
            429,
            {"error": {"message": "Quota used up", "code": "insufficient_quota"}},
            "Quota used up",
        ),
    ],
)
async def test_a_rejected_request_is_not_retryable_and_its_message_is_shown(
    status: int, body: Any, shown: str
):
    error = await llm_error_for([Response.of(body, status)])
    assert not error.retryable
    assert f"returned {status}: {shown}" in str(error)


async def test_an_html_error_page_is_truncated_in_the_message():
    error = await llm_error_for([Response(403, "<html>" + "x" * 5000)])
    assert "returned 403: <html>" in str(error)
    assert len(str(error)) < 600


async def test_a_429_is_retryable_after_the_requested_delay():
    limited = Response.of({"error": {"message": "slow down"}}, 429, Retry_After="12")
    async with serve_replies([limited]) as server:
        with pytest.raises(NodeError, match="slow down") as raised:
            await run_llm(server)
        assert len(server.requests) == 1  # the node retries, not the client
    assert raised.value.retryable
    assert raised.value.retry_after == 12


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_5xx_is_retried(status: int):
    error = await llm_error_for([Response.of({"error": {"message": "overloaded"}}, status)])
    assert error.retryable
    assert "overloaded" in str(error)


async def test_a_rejected_connection_is_retryable():
    with pytest.raises(NodeError) as raised:
        await run_llm(f"http://127.0.0.1:{free_port()}/v1")
    assert raised.value.retryable
    assert "127.0.0.1 cannot be reached: the connection was refused" in str(raised.value)


async def test_a_closed_connection_is_retryable():
    async def hang_up(_request: Request) -> None:
        return None

    error = await llm_error_for(hang_up)
    assert error.retryable
    assert not str(error).endswith(": ")


async def test_a_slow_server_is_a_timeout_that_names_the_limit():
    error = await llm_error_for(never, timeoutSeconds=0.05)
    assert error.retryable
    assert "no complete reply within 0.05 s" in str(error)


@pytest.mark.parametrize(
    "garbage",
    [
        Response(200, "<html>a login page</html>", {"Content-Type": "text/html"}),
        Response(200, "{broken", {"Content-Type": "application/json"}),
        Response.of("text"),
    ],
)
async def test_a_response_that_is_not_a_completion_is_an_error(garbage: Response):
    error = await llm_error_for([garbage])
    assert "not a completion" in str(error)


async def test_cancelling_ends_all_requests():
    arrived: list[Request] = []
    all_there = asyncio.Event()

    async def hold(request: Request) -> Response:
        arrived.append(request)
        if len(arrived) == 5:
            all_there.set()
        return await never(request)

    async with serve_replies(hold) as server:
        task = asyncio.create_task(run_llm(server, [{}] * 9, llmProcessingMode="perRow"))
        await all_there.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 5


async def test_an_invalid_config_error_names_the_setting():
    error = await llm_error_for("ok", outputType="enum")
    assert "'enumOptions' is required when outputType is enum" in str(error)
    assert not error.retryable
