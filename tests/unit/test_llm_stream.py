"""Streamed replies of the llm node, with a real server that sends chunks."""

import asyncio
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.progress import enter_attempt
from tests.support.llm_calls import llm_error_for, llm_result_for, run_llm
from tests.support.llm_server import BREAK, chunk, completion, messages_of, serve_replies, streamed
from tests.support.servers import Request, Response


class Deltas:
    """Recorder of the deltas of a node."""

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
    return await llm_result_for(replies, data, llmStream=True, **config)


async def broken(deltas: Deltas, replies: Any, data: Any = None, **config: Any) -> NodeError:
    enter_attempt(deltas)
    return await llm_error_for(replies, data, llmStream=True, **config)


async def test_the_deltas_are_the_reply_and_the_result_is_as_without_streaming(deltas: Deltas):
    result = await stream(deltas, [streamed("Hel", "lo, ", "wörld", " 🎉\n")], {"a": 1})
    assert [text for text, *_ in deltas.sent] == ["Hel", "lo, ", "wörld", " 🎉\n"]
    assert result == await llm_result_for("Hello, wörld 🎉\n", {"a": 1})
    assert deltas.text() == result["outputData"]["response"]


async def test_a_delta_is_sent_while_the_model_still_writes(deltas: Deltas):
    gate = asyncio.Event()
    enter_attempt(deltas)
    async with serve_replies([streamed("first", gate, " last")]) as server:
        task = asyncio.create_task(run_llm(server, llmStream=True))
        await asyncio.wait_for(deltas.arrived.wait(), 5)
        assert (deltas.text(), task.done()) == ("first", False)
        gate.set()
        assert (await task)["llmResponse"] == "first last"
    assert deltas.text() == "first last"


async def test_streaming_and_token_counts_are_requested_only_for_streams():
    replies: list[str | Response] = [streamed("ok"), completion("ok")]
    async with serve_replies(replies) as server:
        await run_llm(server, llmStream="true", llmMaxTokens=9)
        await run_llm(server)
        with_stream, without = (request.json for request in server.requests)
    assert with_stream.pop("stream") is True
    assert with_stream.pop("stream_options") == {"include_usage": True}
    assert with_stream.pop("max_tokens") == 9
    assert with_stream == without


REJECTED = [
    Response.of({"error": {"message": "Unknown parameter: 'stream_options'."}}, 400),
    Response.of({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, 422),
]


@pytest.mark.parametrize("rejected", REJECTED, ids=["400", "422"])
async def test_a_server_that_rejects_stream_options_receives_none(
    rejected: Response, deltas: Deltas
):
    enter_attempt(deltas)
    replies: list[str | Response] = [
        rejected,
        streamed("about 5", tokens=None),
        streamed("5", tokens=None),
    ]
    async with serve_replies(replies) as server:
        result = await run_llm(server, llmStream=True, outputType="number")
        sent = ["stream_options" in request.json for request in server.requests]
    assert sent == [True, False, False]  # the second request omits it too
    assert result["llmResponse"] == 5
    assert result["usage"] == {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0}


async def test_another_rejected_request_is_not_repeated(deltas: Deltas):
    rejected = Response.of({"error": {"message": "Bad temperature"}}, 400)
    error = await broken(deltas, [rejected])  # a second request would be a 500
    assert "returned 400: Bad temperature" in str(error)
    assert not error.retryable


async def test_a_whole_completion_is_accepted_instead_of_a_stream(deltas: Deltas):
    result = await stream(deltas, [completion("whole", tokens=(4, 5))])
    assert (result["llmResponse"], deltas.text()) == ("whole", "whole")
    assert result["usage"]["totalTokens"] == 9


async def test_chunks_without_choices_content_or_usage_are_accepted(deltas: Deltas):
    odd = [
        chunk(choices=[]),
        chunk(choices=None),
        chunk(choices=[{"index": 0}]),
        chunk(choices=[{"index": 0, "delta": None}]),
        chunk("text", usage=None),
    ]
    assert (await stream(deltas, [streamed(*odd)]))["llmResponse"] == deltas.text() == "text"


async def test_a_split_surrogate_pair_is_joined(deltas: Deltas):
    result = await stream(deltas, [streamed("a\ud83c", "\udf89b")])
    assert result["llmResponse"] == deltas.text() == "a🎉b"


async def test_a_refusal_is_the_reply(deltas: Deltas):
    parts = [chunk(choices=[{"delta": {"refusal": text}}]) for text in ("I will", " not")]
    assert (await stream(deltas, [streamed(*parts)]))["llmResponse"] == "I will not"
    assert deltas.text() == "I will not"


async def test_deltas_of_the_second_request_are_marked(deltas: Deltas):
    replies = [streamed("about ", "5", tokens=(1, 2)), streamed("5", tokens=(3, 4))]
    result = await stream(deltas, replies, outputType="number")
    assert result["outputData"]["response"] == 5
    assert (deltas.text(), deltas.text(question=2)) == ("about 5", "5")
    assert result["usage"]["totalTokens"] == 10


async def test_the_truncation_of_a_stream_is_reported(deltas: Deltas):
    cut = [streamed('{"a": ', finish_reason="length")] * 2
    assert "truncated at the maximum length" in str(await broken(deltas, cut, outputType="json"))


async def test_per_row_deltas_contain_the_index_of_their_record(deltas: Deltas):
    async def respond(request: Request) -> Response:
        number = messages_of(request)[0]["content"]
        return streamed(f"r{number}", "!")

    config = {"llmPrompt": "{{ n }}", "llmIncludeInput": False, "llmProcessingMode": "perRow"}
    result = await stream(deltas, respond, [{"n": i} for i in range(8)], **config)
    assert result["llmResponse"] == [f"r{i}!" for i in range(8)]
    assert [deltas.text(index) for index in range(8)] == result["llmResponse"]


# Errors during a reply


async def test_a_connection_lost_during_a_reply_is_retryable(deltas: Deltas):
    error = await broken(deltas, [streamed("half", BREAK)])
    assert error.retryable
    assert "interrupted its reply" in str(error)
    assert deltas.text() == "half"


async def test_a_stream_without_a_finish_reason_is_an_error(deltas: Deltas):
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
async def test_an_error_reported_during_a_reply(
    reported: dict[str, Any], retryable: bool, deltas: Deltas
):
    error = await broken(deltas, [streamed("half", {"error": reported})])
    assert str(error) == "the model server at 127.0.0.1 reported an error in its reply: Overloaded"
    assert error.retryable is retryable


async def test_a_stalled_stream_is_a_timeout_that_names_the_limit(deltas: Deltas):
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
async def test_a_response_that_is_not_a_completion_is_an_error(garbage: Response, deltas: Deltas):
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
        task = asyncio.create_task(run_llm(url, [1], llmStream=True, **config))
        await asyncio.wait_for(deltas.arrived.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(hung_up.wait(), 5)
