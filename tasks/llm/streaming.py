"""A chat completion that comes piece by piece, put together to the one that would come whole."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import openai
from openai import AsyncStream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from engine.errors import NodeError
from tasks.http.client import describe_error
from tasks.llm.content import INVALID_REQUEST, server_failure, text_of

OnPiece = Callable[[str], None]
"""Is told each piece of the reply's text, in order; together they are the text."""


class CompletionStream:
    """Asks one server for streams; remembers whether it knows how to count their tokens."""

    def __init__(self) -> None:
        self._counts = True

    async def complete(
        self, client: openai.AsyncOpenAI, request: Mapping[str, Any], on_piece: OnPiece
    ) -> object:
        """The completion of ``request``, the arguments of ``chat.completions.create``.

        A server that does not stream answers with the whole completion, which is one piece then.

        Raises:
            NodeError: the server broke off, or reported an error, after it had begun to reply.
            openai.OpenAIError: it did not begin.
            ValueError: what it sent is no JSON.
        """
        # Leaving closes the connection, which is how the server hears that nobody listens.
        async with await self._open(client, request) as stream:
            kind = stream.response.headers.get("Content-Type", "")
            if kind.partition(";")[0].strip().lower() == "application/json":
                return await _whole(stream, on_piece)
            return await _together(stream, on_piece, client.base_url.host)

    async def _open(
        self, client: openai.AsyncOpenAI, request: Mapping[str, Any]
    ) -> AsyncStream[ChatCompletionChunk]:
        create = cast("Any", client.chat.completions.create)
        if self._counts:
            try:
                counted = {"include_usage": True}
                return await create(**request, stream=True, stream_options=counted)
            except openai.APIStatusError as error:
                # It came after streams did, and some servers refuse what they do not know.
                refused = error.status_code in INVALID_REQUEST
                if not refused or "stream_options" not in error.response.text:
                    raise
                self._counts = False
        return await create(**request, stream=True)


async def _whole(stream: AsyncStream[ChatCompletionChunk], on_piece: OnPiece) -> object:
    await stream.response.aread()
    body: object = stream.response.json()
    if not isinstance(body, dict):
        return body
    completion = ChatCompletion.construct(**cast("dict[str, Any]", body))
    for choice in (cast("list[Any] | None", completion.choices) or [])[:1]:
        message = getattr(choice, "message", None)
        if text := text_of(message):
            on_piece(text)
    return completion


async def _together(
    stream: AsyncStream[ChatCompletionChunk], on_piece: OnPiece, host: str
) -> ChatCompletion:
    reply = _StreamAccumulator(on_piece)
    try:
        async for chunk in stream:
            reply.take(chunk)
    except openai.APITimeoutError:
        raise
    except openai.APIConnectionError as error:
        reason = describe_error(error.__cause__ or error)
        raise NodeError(f"the model server at {host} broke off its reply: {reason}") from error
    except openai.APIError as error:
        body = cast("object", error.body)
        raise server_failure(body or error.message, host) from error
    return reply.completion(host)


class _StreamAccumulator:
    """What has come of a reply."""

    def __init__(self, on_piece: OnPiece) -> None:
        self._on_piece = on_piece
        self._content: list[str] = []
        self._half = ""
        self._refusal = False
        self._finish_reason: str | None = None
        self._usage: CompletionUsage | None = None
        self._chunks = 0

    def take(self, chunk: ChatCompletionChunk) -> None:
        """Takes one chunk; fields that it lacks or has empty are no fault of it."""
        self._chunks += 1
        # The client hands out what is no chunk as it is, against its own types.
        given = cast("Any", chunk)
        self._usage = getattr(given, "usage", None) or self._usage
        choices = getattr(given, "choices", None)
        if not choices:
            return
        choice = choices[0]
        self._finish_reason = getattr(choice, "finish_reason", None) or self._finish_reason
        delta = getattr(choice, "delta", None)
        refusal = not getattr(delta, "content", None)
        if refusal and self._content and not self._refusal:
            return
        if text := text_of(delta):
            self._refusal = self._refusal or refusal
            self._take_text(text)

    def _take_text(self, text: str) -> None:
        text = self._half + text
        self._half = ""
        if "\ud800" <= text[-1] <= "\udbff":
            # Some servers cut between the two halves of a character.
            text, self._half = text[:-1], text[-1]
        if text:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            self._content.append(text)
            self._on_piece(text)

    def completion(self, host: str) -> ChatCompletion:
        """All that came, as if it had come at once.

        Raises:
            NodeError: the stream ended before the reply did.
        """
        if self._finish_reason is None:
            if not self._chunks:
                raise NodeError(f"the model server at {host} answered with no stream of chunks")
            raise NodeError(
                f"the model server at {host} ended its stream without saying that the reply is "
                "complete (no finish_reason)"
            )
        message = {"role": "assistant", "content": "".join(self._content) + self._half}
        choice = {"index": 0, "finish_reason": self._finish_reason, "message": message}
        return ChatCompletion.construct(choices=[choice], usage=self._usage)
