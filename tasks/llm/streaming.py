"""Streamed chat completions: accumulates chunks into one completion.

openai's own accumulator rejects chunks of several compatible servers (decision 0026).
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import openai
from openai import AsyncStream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from engine.errors import NodeError
from engine.json_values import is_object
from tasks.http.client import describe_error
from tasks.http.media_types import media_type
from tasks.llm.content import INVALID_REQUEST, server_failure, text_of

OnPiece = Callable[[str], None]
"""Callback that receives each piece of the reply's text, in order."""


class CompletionStream:
    """Streams from one server; remembers whether the server supports ``stream_options``."""

    def __init__(self) -> None:
        self._supports_options = True

    async def complete(
        self, client: openai.AsyncOpenAI, request: Mapping[str, Any], on_piece: OnPiece
    ) -> object:
        """Return the completion of ``request``, the arguments of ``chat.completions.create``.

        A server that does not stream returns the whole completion, which is one piece then. A
        ``NodeError`` means that the reply is interrupted or contains an error, an ``OpenAIError``
        that the server does not start it, and a ``ValueError`` that it is not valid JSON.
        """
        # The end of the block closes the connection, so that the server stops generating.
        async with await self._open(client, request) as stream:
            if media_type(stream.response.headers.get("Content-Type", "")) == "application/json":
                return await _whole_completion(stream, on_piece)
            return await _accumulate(stream, on_piece, client.base_url.host)

    async def _open(
        self, client: openai.AsyncOpenAI, request: Mapping[str, Any]
    ) -> AsyncStream[ChatCompletionChunk]:
        create = cast("Any", client.chat.completions.create)
        if self._supports_options:
            try:
                options = {"include_usage": True}
                return await create(**request, stream=True, stream_options=options)
            except openai.APIStatusError as error:
                # The parameter is newer than streaming, and some servers reject unknown parameters.
                rejected = error.status_code in INVALID_REQUEST
                if not rejected or "stream_options" not in error.response.text:
                    raise
                self._supports_options = False
        return await create(**request, stream=True)


async def _whole_completion(stream: AsyncStream[ChatCompletionChunk], on_piece: OnPiece) -> object:
    await stream.response.aread()
    body: object = stream.response.json()
    if not is_object(body):
        return body
    completion = ChatCompletion.construct(**body)
    choices = getattr(completion, "choices", None)
    if choices and (text := text_of(getattr(choices[0], "message", None))):
        on_piece(text)
    return completion


async def _accumulate(
    stream: AsyncStream[ChatCompletionChunk], on_piece: OnPiece, host: str
) -> ChatCompletion:
    reply = _StreamAccumulator(on_piece)
    try:
        async for chunk in stream:
            reply.add(chunk)
    except openai.APITimeoutError:
        raise
    except openai.APIConnectionError as error:
        reason = describe_error(error.__cause__ or error)
        raise NodeError(f"the model server at {host} interrupted its reply: {reason}") from error
    except openai.APIError as error:
        raise server_failure(error.body or error.message, host) from error
    return reply.completion(host)


class _StreamAccumulator:
    """The received part of a reply."""

    def __init__(self, on_piece: OnPiece) -> None:
        self._on_piece = on_piece
        self._content: list[str] = []
        self._high_surrogate = ""
        self._has_refusal = False
        self._finish_reason: str | None = None
        self._usage: CompletionUsage | None = None
        self._chunks = 0

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Add one chunk; missing and empty fields are valid."""
        self._chunks += 1
        # The client returns other JSON values unchanged, although its types exclude them.
        value = cast("Any", chunk)
        self._usage = getattr(value, "usage", None) or self._usage
        choices = getattr(value, "choices", None)
        if not choices:
            return
        choice = choices[0]
        self._finish_reason = getattr(choice, "finish_reason", None) or self._finish_reason
        delta = getattr(choice, "delta", None)
        is_refusal = not getattr(delta, "content", None)
        if is_refusal and self._content and not self._has_refusal:
            return
        if text := text_of(delta):
            self._has_refusal = self._has_refusal or is_refusal
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        text = self._high_surrogate + text
        self._high_surrogate = ""
        if "\ud800" <= text[-1] <= "\udbff":
            # Some servers split a surrogate pair.
            text, self._high_surrogate = text[:-1], text[-1]
        if text:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            self._content.append(text)
            self._on_piece(text)

    def completion(self, host: str) -> ChatCompletion:
        """Return the accumulated completion, or raise a ``NodeError`` if it is not complete."""
        if self._finish_reason is None:
            if not self._chunks:
                raise NodeError(f"the model server at {host} returned no chunks")
            raise NodeError(
                f"the model server at {host} ended its stream before the reply was complete "
                "(no finish_reason)"
            )
        content = "".join(self._content) + self._high_surrogate
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "finish_reason": self._finish_reason, "message": message}
        return ChatCompletion.construct(choices=[choice], usage=self._usage)
