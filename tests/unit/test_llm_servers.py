"""Differences of model servers: content parts, reasoning, errors, and parameter names."""

from typing import Any

import pytest

from tests.support.llm_calls import llm_error_for, llm_result_for, run_llm
from tests.support.llm_server import chunk, completion, messages_of, serve_replies, streamed
from tests.support.servers import Request, Response

PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "let me see"}]},
    {"type": "text", "text": "final "},
    {"type": "reasoning", "text": "hm"},
    "answer",
]


@pytest.mark.parametrize("stream", [False, True])
async def test_content_in_parts_is_the_text_of_its_text_parts(stream: bool):
    reply = streamed(chunk(PARTS[:2]), chunk(PARTS[2:])) if stream else completion(PARTS)
    result = await llm_result_for([reply], llmStream=stream)
    assert result["outputData"]["response"] == "final answer"


async def test_reasoning_before_a_reply_is_neither_parsed_nor_sent_back():
    thinking = "<think>a number, so 5?</think>\n\nabout 5"
    async with serve_replies([thinking, "<think>digits</think>5"]) as server:
        result = await run_llm(server, outputType="number")
        assert messages_of(server.last)[-2] == {"role": "assistant", "content": "about 5"}
    assert result["outputData"]["response"] == 5


@pytest.mark.parametrize(
    ("error", "quoted", "retryable"),
    [
        ({"message": "Upstream is overloaded", "code": 502}, "Upstream is overloaded", True),
        ({"message": "Upstream is overloaded", "code": "502"}, "Upstream is overloaded", True),
        ({"message": "Rate limited", "code": 429}, "Rate limited", True),
        ({"message": "Key is wrong", "code": 401}, "Key is wrong", False),
        ({"message": "No funds", "type": "insufficient_quota"}, "No funds", False),
        ("model is loading", "model is loading", True),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_in_a_response_with_status_200_is_quoted(
    error: Any, quoted: str, retryable: bool, stream: bool
):
    async with serve_replies([Response.of({"error": error})]) as server:
        with pytest.raises(Exception, match=quoted) as raised:
            await run_llm(server, llmStream=stream)
        assert len(server.requests) == 1  # the request was not repeated with a correction
    assert raised.value.retryable is retryable  # pyright: ignore[reportAttributeAccessIssue]


async def test_an_error_in_a_choice_is_quoted():
    choice = {
        "index": 0,
        "finish_reason": "error",
        "message": {"role": "assistant", "content": ""},
        "error": {"message": "Provider disconnected", "code": 502},
    }
    error = await llm_error_for([Response.of({"choices": [choice]})])
    assert "Provider disconnected" in str(error)
    assert error.retryable


def only(name: str, message: str) -> Any:
    """A server that accepts one name of the token limit."""

    async def respond(request: Request) -> Response:
        if name in request.json:
            return completion("ok")
        return Response.of({"error": {"message": message, "code": "unsupported_parameter"}}, 400)

    return respond


UNSUPPORTED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_that_rejects_max_tokens_gets_the_new_name(stream: bool):
    async with serve_replies(only("max_completion_tokens", UNSUPPORTED)) as server:
        rows = [{}] * 12
        config = {"llmMaxTokens": 9, "llmStream": stream, "llmProcessingMode": "perRow"}
        result = await run_llm(server, rows, **config)
        rejected = [request for request in server.requests if "max_tokens" in request.json]
        last = server.last.json
    assert result["outputData"]["response"] == ["ok"] * 12
    assert last["max_completion_tokens"] == 9
    assert 1 <= len(rejected) <= 5  # later rows use the accepted name


async def test_a_server_that_rejects_the_new_name_gets_the_old_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.llm.client.OPENAI_HOST", "127.0.0.1")
    rejecting = only("max_tokens", "Unrecognized request argument: max_completion_tokens")
    async with serve_replies(rejecting) as server:
        assert (await run_llm(server, llmMaxTokens=9))["llmResponse"] == "ok"
        assert len(server.requests) == 2


async def test_a_token_limit_that_is_too_large_is_not_sent_again():
    async with serve_replies([Response.of({"error": "max_tokens is too large"}, 400)]) as server:
        with pytest.raises(Exception, match="max_tokens is too large"):
            await run_llm(server, llmMaxTokens=10**6)
        assert len(server.requests) == 1
