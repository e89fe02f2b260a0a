"""The llm node with ``llmStream``, against a real server that sends its completion in chunks."""

import asyncio
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.progress import enter_attempt
from tests.support.llm_calls import ask, failure_of, reply_to
from tests.support.llm_server import BREAK, chunk, completion, messages_of, serve_replies, streamed
from tests.support.servers import Request, Response


class Deltas:
    """What the node sends while it runs."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int | None, int]] = []
        self.arrived = asyncio.Event()

    def progress(self, percentage: int | None, message: str | None) -> None:
        raise AssertionError("an llm node reports no progress")

    def delta(self, text: str, index: int | None, question: int) -> None:
        self.sent.append((text, index, question))
        self.arrived.set()

    def text(self, index: int | None = None, question: int = 1) -> str:
        return "".join(text for text, *output in self.sent if output == [index, question])


@pytest.fixture
async def deltas() -> Deltas:
    return Deltas()


@pytest.fixture(autouse=True)
def _no_reports_left() -> Any:
    yield
    enter_attempt(None)  # type: ignore[arg-type]


async def stream(deltas: Deltas, replies: Any, data: Any = None, **config: Any) -> Any:
    enter_attempt(deltas)
    return await reply_to(replies, data, llmStream=True, **config)


async def broken(deltas: Deltas, replies: Any, data: Any = None, **config: Any) -> NodeError:
    enter_attempt(deltas)
    return await failure_of(replies, data, llmStream=True, **config)


async def test_the_deltas_are_the_reply_and_the_result_is_as_without_streaming(deltas: Deltas):
    result = await stream(deltas, [streamed("Hel", "lo, ", "wörld", " 🎉\n")], {"a": 1})
    assert [text for text, *_ in deltas.sent] == ["Hel", "lo, ", "wörld", " 🎉\n"]
    assert result == await reply_to("Hello, wörld 🎉\n", {"a": 1})
    assert deltas.text() == result["outputData"]["response"]


async def test_a_delta_is_sent_while_the_model_still_writes(deltas: Deltas):
    gate = asyncio.Event()
    enter_attempt(deltas)
    async with serve_replies([streamed("first", gate, " last")]) as server:
        task = asyncio.create_task(ask(server, llmStream=True))
        await asyncio.wait_for(deltas.arrived.wait(), 5)
        assert (deltas.text(), task.done()) == ("first", False)
        gate.set()
        assert (await task)["llmResponse"] == "first last"
    assert deltas.text() == "first last"


async def test_streaming_and_the_count_of_tokens_are_asked_for_only_where_they_are_wanted():
    replies: list[str | Response] = [streamed("ok"), completion("ok")]
    async with serve_replies(replies) as server:
        await ask(server, llmStream="true", llmMaxTokens=9)
        await ask(server)
        with_stream, without = (request.json for request in server.requests)
    assert with_stream.pop("stream") is True
    assert with_stream.pop("stream_options") == {"include_usage": True}
    assert with_stream.pop("max_tokens") == 9
    assert with_stream == without


REFUSALS = [
    Response.of({"error": {"message": "Unknown parameter: 'stream_options'."}}, 400),
    Response.of({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, 422),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "422"])
async def test_a_server_that_does_not_know_stream_options_is_asked_without(
    refusal: Response, deltas: Deltas
):
    enter_attempt(deltas)
    replies: list[str | Response] = [
        refusal,
        streamed("about 5", tokens=None),
        streamed("5", tokens=None),
    ]
    async with serve_replies(replies) as server:
        result = await ask(server, llmStream=True, outputType="number")
        asked = ["stream_options" in request.json for request in server.requests]
    assert asked == [True, False, False]  # and is remembered for the second question
    assert result["llmResponse"] == 5
    assert result["usage"] == {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0}


async def test_any_other_refusal_is_not_asked_twice(deltas: Deltas):
    refused = Response.of({"error": {"message": "Bad temperature"}}, 400)
    error = await broken(deltas, [refused])  # a second request would be a 500
    assert "returned 400: Bad temperature" in str(error)
    assert not error.retryable


async def test_a_server_that_does_not_stream_is_taken_as_it_is(deltas: Deltas):
    result = await stream(deltas, [completion("whole", tokens=(4, 5))])
    assert (result["llmResponse"], deltas.text()) == ("whole", "whole")
    assert result["usage"]["totalTokens"] == 9


async def test_chunks_without_choices_content_or_usage_do_no_harm(deltas: Deltas):
    odd = [
        chunk(choices=[]),
        chunk(choices=None),
        chunk(choices=[{"index": 0}]),
        chunk(choices=[{"index": 0, "delta": None}]),
        chunk("text", usage=None),
    ]
    assert (await stream(deltas, [streamed(*odd)]))["llmResponse"] == deltas.text() == "text"


async def test_a_character_that_was_cut_in_two_is_put_together(deltas: Deltas):
    result = await stream(deltas, [streamed("a\ud83c", "\udf89b")])
    assert result["llmResponse"] == deltas.text() == "a🎉b"


async def test_a_refusal_is_the_reply(deltas: Deltas):
    parts = [chunk(choices=[{"delta": {"refusal": text}}]) for text in ("I will", " not")]
    assert (await stream(deltas, [streamed(*parts)]))["llmResponse"] == "I will not"
    assert deltas.text() == "I will not"


async def test_the_second_question_s_deltas_are_marked(deltas: Deltas):
    replies = [streamed("about ", "5", tokens=(1, 2)), streamed("5", tokens=(3, 4))]
    result = await stream(deltas, replies, outputType="number")
    assert result["outputData"]["response"] == 5
    assert (deltas.text(), deltas.text(question=2)) == ("about 5", "5")
    assert result["usage"]["totalTokens"] == 10


async def test_a_stream_cut_off_at_the_longest_reply_says_so(deltas: Deltas):
    cut = [streamed('{"a": ', finish_reason="length")] * 2
    assert "truncated at the maximum length" in str(await broken(deltas, cut, outputType="json"))


async def test_with_per_row_each_delta_says_its_record(deltas: Deltas):
    async def answer(request: Request) -> Response:
        number = messages_of(request)[0]["content"]
        return streamed(f"r{number}", "!")

    config = {"llmPrompt": "{{ n }}", "llmIncludeInput": False, "llmProcessingMode": "perRow"}
    result = await stream(deltas, answer, [{"n": i} for i in range(8)], **config)
    assert result["llmResponse"] == [f"r{i}!" for i in range(8)]
    assert [deltas.text(index) for index in range(8)] == result["llmResponse"]


# What goes wrong in the middle


async def test_a_connection_lost_in_the_middle_is_tried_again(deltas: Deltas):
    error = await broken(deltas, [streamed("half", BREAK)])
    assert error.retryable
    assert "interrupted its reply" in str(error)
    assert deltas.text() == "half"


async def test_a_stream_that_just_ends_is_no_reply(deltas: Deltas):
    error = await broken(deltas, [streamed("half", finish_reason=None)])
    assert error.retryable
    assert "no finish_reason" in str(error)


@pytest.mark.parametrize(
    ("reported", "retryable"),
    [
        ({"message": "Overloaded", "type": "server_error"}, True),
        ({"message": "Overloaded", "code": 429}, True),
        ({"message": "Overloaded", "code": 503}, True),
        ({"message": "Overloaded", "code": "insufficient_quota"}, False),
        ({"message": "Overloaded", "type": "invalid_request_error"}, False),
        ({"message": "Overloaded", "code": 400}, False),
    ],
)
async def test_an_error_that_the_server_reports_in_the_middle(
    reported: dict[str, Any], retryable: bool, deltas: Deltas
):
    error = await broken(deltas, [streamed("half", {"error": reported})])
    assert str(error) == "the model server at 127.0.0.1 reported an error in its reply: Overloaded"
    assert error.retryable is retryable


async def test_a_model_that_stops_writing_is_a_timeout_that_names_the_limit(deltas: Deltas):
    error = await broken(deltas, [streamed("half", asyncio.Event())], timeoutSeconds=0.2)
    assert error.retryable
    assert "no complete reply within 0.2 s" in str(error)


@pytest.mark.parametrize(
    "garbage",
    [
        Response(200, "<html>a login page</html>", {"Content-Type": "text/html"}),
        Response(200, "{broken", {"Content-Type": "application/json"}),
        Response.of("text"),
        Response(200, "data: {broken\n\n", {"Content-Type": "text/event-stream"}),
        Response(200, 'data: "text"\n\ndata: [DONE]\n\n', {"Content-Type": "text/event-stream"}),
    ],
)
async def test_an_answer_that_is_no_completion_is_an_error(garbage: Response, deltas: Deltas):
    error = await broken(deltas, [garbage])
    assert error.retryable
    assert "127.0.0.1" in str(error)
    assert deltas.sent == []


@pytest.mark.parametrize("config", [{}, {"llmProcessingMode": "perRow"}])
async def test_cancelling_closes_the_stream_at_once(config: dict[str, Any], deltas: Deltas):
    hung_up = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writer.write(b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n')
        while await reader.read(65_536):
            pass
        hung_up.set()
        writer.close()

    enter_attempt(deltas)
    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        task = asyncio.create_task(ask(url, [1], llmStream=True, **config))
        await asyncio.wait_for(deltas.arrived.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(hung_up.wait(), 5)
