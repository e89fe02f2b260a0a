"""Requests and results of the llm node, with a real chat completion server on loopback."""

import asyncio
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings
from tests.support.llm_calls import llm_error_for, llm_result_for, run_llm, sent_request
from tests.support.llm_server import completion, messages_of, serve_replies
from tests.support.servers import Request, Response, never

# The request


async def test_the_prompt_is_sent_to_chat_completions_with_the_key():
    request = await sent_request()
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-1"
    assert messages_of(request) == [{"role": "user", "content": "Say it"}]
    assert request.json["model"] == HandlerSettings().llm_model
    assert {"temperature", "max_tokens", "max_completion_tokens"}.isdisjoint(request.json)


async def test_model_temperature_and_token_limit_are_sent_if_they_are_set():
    request = await sent_request(llmModel="m1", llmTemperature="0.5", llmMaxTokens="99")
    assert request.json["model"] == "m1"
    assert request.json["temperature"] == 0.5
    assert request.json["max_tokens"] == 99


async def test_openai_receives_the_token_limit_under_its_newer_name(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("tasks.llm.client.OPENAI_HOST", "127.0.0.1")
    request = await sent_request(llmMaxTokens=99)
    assert request.json["max_completion_tokens"] == 99
    assert "max_tokens" not in request.json


async def test_the_prompt_is_a_template_over_the_input():
    request = await sent_request(
        {"name": "Zoë"}, llmPrompt="Greet {{ name }}", llmIncludeInput=False
    )
    assert messages_of(request) == [{"role": "user", "content": "Greet Zoë"}]


async def test_both_names_of_the_prompt_are_accepted_and_the_first_has_precedence():
    assert messages_of(await sent_request(llmPrompt="", prompt="second"))[0]["content"] == "second"
    assert (
        messages_of(await sent_request(llmPrompt="first", prompt="second"))[0]["content"] == "first"
    )


@pytest.mark.parametrize(
    ("data", "shown"), [({"a": "é"}, '{"a":"é"}'), ([1], "[1]"), ("x", '"x"'), (0, "0")]
)
async def test_the_input_follows_the_prompt_as_json(data: Any, shown: str):
    content = messages_of(await sent_request(data))[0]["content"]
    assert content.startswith("Say it\n")
    assert content.endswith(shown)


@pytest.mark.parametrize("include", [False, "false"])
async def test_the_input_can_be_omitted(include: Any):
    assert (
        messages_of(await sent_request({"a": 1}, llmIncludeInput=include))[0]["content"] == "Say it"
    )


async def test_a_missing_input_is_not_added_to_the_prompt():
    assert messages_of(await sent_request(None))[0]["content"] == "Say it"


async def test_the_system_prompt_is_a_template_too():
    system, user = messages_of(
        await sent_request({"who": "Ann"}, llmSystemPrompt="You are {{ who }}")
    )
    assert system == {"role": "system", "content": "You are Ann"}
    assert user["role"] == "user"


@pytest.mark.parametrize("setting", ["llmPrompt", "llmSystemPrompt"])
async def test_a_template_without_its_field_is_an_error_that_names_setting_and_field(setting: str):
    error = await llm_error_for("ok", {"a": 1}, **{setting: "{{ nope }}"})
    assert str(error).startswith(f"{setting}: the input has no field 'nope'")
    assert not error.retryable


async def test_the_system_message_contains_the_requested_type():
    async with serve_replies("5") as server:
        await run_llm(server, outputType="number", llmSystemPrompt="Be brief")
        system = messages_of(server.last)[0]
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief\n\n")
    assert "number" in system["content"]


# The reply


async def test_the_result_has_response_type_input_model_and_usage():
    result = await llm_result_for([completion("Hello")], {"a": 1}, llmModel="m1")
    assert result["success"] is True
    assert result["outputData"] == {
        "response": "Hello",
        "outputType": "text",
        "inputData": {"a": 1},
    }
    assert result["llmResponse"] == "Hello"
    assert result["model"] == "m1"
    assert result["usage"] == {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10}


@pytest.mark.parametrize(
    ("config", "reply", "response"),
    [
        ({}, "any text", "any text"),
        ({"outputType": ""}, "any text", "any text"),
        ({"outputType": "number"}, " 42. ", 42),
        ({"outputType": "date"}, "2024-02-29", "2024-02-29"),
        ({"outputType": "enum", "enumOptions": ["Yes", "No"]}, "yes", "Yes"),
        ({"outputType": "enum", "enumOptions": "Yes, No"}, "NO", "No"),
        ({"outputType": "json"}, '```json\n{"a": 1}\n```', {"a": 1}),
    ],
)
async def test_a_reply_is_parsed_as_the_requested_type(
    config: dict[str, Any], reply: str, response: Any
):
    result = await llm_result_for([reply], **config)
    assert result["outputData"]["response"] == result["llmResponse"] == response


async def test_a_reply_of_the_wrong_type_is_requested_once_more():
    first, second = completion("about 5", tokens=(10, 2)), completion("5", tokens=(20, 1))
    async with serve_replies([first, second]) as server:
        result = await run_llm(server, outputType="number")
        before, after = (messages_of(request) for request in server.requests)
    assert result["outputData"]["response"] == 5
    assert result["usage"] == {"promptTokens": 30, "completionTokens": 3, "totalTokens": 33}
    assert after[: len(before)] == before
    bad, correction = after[len(before) :]
    assert bad == {"role": "assistant", "content": "about 5"}
    assert correction["role"] == "user"
    assert "one number" in correction["content"]


async def test_a_reply_that_is_twice_of_the_wrong_type_is_an_error():
    async with serve_replies(["about 5", "roughly " + "5" * 500]) as server:
        with pytest.raises(NodeError) as raised:
            await run_llm(server, outputType="number", llmModel="m1")
        assert len(server.requests) == 2
    message = str(raised.value)
    assert not raised.value.retryable
    assert message.endswith("instead of one number (outputType number)")
    assert "'roughly 555" in message
    assert len(message) < 250


NO_CHOICES = Response.of({"id": "x", "object": "chat.completion", "model": "m", "choices": []})
NULL_CHOICES = Response.of({"id": "x", "object": "chat.completion", "choices": None})


@pytest.mark.parametrize("empty", [completion(None), completion(""), NO_CHOICES, NULL_CHOICES])
async def test_an_empty_reply_is_requested_once_more(empty: Response):
    async with serve_replies([empty, "now"]) as server:
        assert (await run_llm(server))["outputData"]["response"] == "now"
        assert [m["role"] for m in messages_of(server.last)] == ["user", "user"]


@pytest.mark.parametrize("empty", [completion(None), NO_CHOICES, NULL_CHOICES])
async def test_a_reply_that_stays_empty_is_an_error(empty: Response):
    error = await llm_error_for([empty, empty])
    assert "replied nothing" in str(error)
    assert not error.retryable


async def test_an_error_names_the_truncation_of_the_reply():
    cut = completion('{"a": ', finish_reason="length")
    error = await llm_error_for([cut, cut], outputType="json", llmMaxTokens=3)
    assert "truncated at the maximum length" in str(error)


async def test_a_refusal_is_shown_as_the_reply():
    refusal = {"index": 0, "finish_reason": "stop", "message": {"refusal": "I will not"}}
    body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [refusal]}
    error = await llm_error_for([Response.of(body), Response.of(body)], outputType="number")
    assert "I will not" in str(error)


async def test_missing_token_counts_are_zero():
    bare = {"index": 0, "message": {"role": "assistant", "content": "hi"}}
    result = await llm_result_for([Response.of({"choices": [bare], "usage": {"prompt_tokens": 4}})])
    assert result["usage"] == {"promptTokens": 4, "completionTokens": 0, "totalTokens": 0}


# Record by record


async def test_per_row_sends_one_request_per_record_and_keeps_their_order():
    async def respond(request: Request) -> Response:
        number = int(messages_of(request)[0]["content"].removeprefix("#"))
        if number == 0:  # the first one gets its response last
            await last_arrived.wait()
        if number == 7:
            last_arrived.set()
        return completion(f"r{number}")

    last_arrived = asyncio.Event()
    rows = [{"n": i} for i in range(8)]
    config: dict[str, Any] = {
        "llmPrompt": "#{{ n }}",
        "llmIncludeInput": False,
        "llmProcessingMode": "perRow",
    }
    async with serve_replies(respond) as server:
        result = await run_llm(server, rows, **config)
        assert len(server.requests) == 8
    assert result["outputData"]["response"] == [f"r{i}" for i in range(8)]
    assert result["outputData"]["inputData"] == rows
    assert result["usage"]["totalTokens"] == 80


async def test_per_row_sends_at_most_five_requests_at_a_time():
    going = most = 0
    five = asyncio.Event()

    async def respond(_request: Request) -> Response:
        nonlocal going, most
        going += 1
        most = max(most, going)
        if going == 5:
            five.set()
        await five.wait()  # no response before there are five requests
        await asyncio.sleep(0)
        going -= 1
        return completion("ok")

    result = await llm_result_for(respond, [{}] * 12, llmProcessingMode="perRow")
    assert result["outputData"]["response"] == ["ok"] * 12
    assert most == 5


async def test_per_row_includes_the_record_not_the_list():
    async with serve_replies("ok") as server:
        await run_llm(server, [{"a": 1}], llmProcessingMode="perRow")
        assert messages_of(server.last)[0]["content"].endswith('\n{"a":1}')


async def test_per_row_on_an_object_sends_one_request():
    result = await llm_result_for(["one"], {"a": 1}, llmProcessingMode="perRow")
    assert result["outputData"]["response"] == "one"


async def test_batch_on_a_list_sends_one_request():
    assert (await llm_result_for(["one"], [1, 2]))["outputData"]["response"] == "one"


async def test_per_row_on_an_empty_list_sends_no_request():
    async with serve_replies([]) as server:
        result = await run_llm(server, [], llmProcessingMode="perRow")
        assert server.requests == []
    assert result["outputData"]["response"] == []
    assert result["usage"]["totalTokens"] == 0


async def test_a_failed_record_is_named_and_ends_the_others():
    async def respond(request: Request) -> Response:
        if '{"n":3}' in messages_of(request)[0]["content"]:
            return Response.of({"error": {"message": "slow down"}}, 429, Retry_After="9")
        return await never(request)

    rows = [{"n": i} for i in range(20)]
    error = await llm_error_for(respond, rows, llmProcessingMode="perRow")
    assert str(error).startswith("record 3: ")
    assert error.retryable
    assert error.retry_after == 9
