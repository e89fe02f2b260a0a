"""A chat completion server on loopback with scripted replies."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.servers import Handler, Request, Response, ScriptedServer, serve


def completion(
    content: Any,
    *,
    model: str = "served",
    finish_reason: str = "stop",
    tokens: tuple[int, int] = (7, 3),
) -> Response:
    """Return a completion with one choice; ``tokens`` are the counts of prompt and reply."""
    return Response.of(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish_reason,
                    "message": {"role": "assistant", "content": content},
                }
            ],
            "usage": {
                "prompt_tokens": tokens[0],
                "completion_tokens": tokens[1],
                "total_tokens": sum(tokens),
            },
        }
    )


BREAK = object()
"""A part at which the connection is lost."""
DONE = b"data: [DONE]\n\n"


def chunk(content: Any = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Return one chunk of a streamed completion; ``more`` contains further fields."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "served",
        "choices": [choice],
        **more,
    }


def streamed(
    *parts: Any, finish_reason: str | None = "stop", tokens: tuple[int, int] | None = (7, 3)
) -> Response:
    """Return a completion in chunks, in the form of OpenAI.

    A part is a string, a whole chunk, ``BREAK``, or an ``asyncio.Event`` to wait for.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield _event(chunk(""))
        for part in parts:
            if isinstance(part, asyncio.Event):
                await part.wait()
            elif part is BREAK:
                raise ConnectionResetError
            else:
                yield _event(part if isinstance(part, dict) else chunk(part))
        if finish_reason is None:
            return
        yield _event(chunk(finish_reason=finish_reason))
        if tokens is not None:
            counts = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
            usage = {**counts, "total_tokens": sum(tokens)}
            yield _event(chunk(choices=[], usage=usage))
        yield DONE

    return Response(200, headers={"Content-Type": "text/event-stream"}, pieces=pieces)


def _event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def messages_of(request: Request) -> list[dict[str, str]]:
    """Return the messages of a request."""
    return request.json["messages"]


@asynccontextmanager
async def serve_replies(
    replies: str | list[str | Response] | Handler,
) -> AsyncGenerator[ScriptedServer]:
    """Run a server: one reply for all requests, one reply each, or the responses of a function."""
    responses: Handler | Response | list[Response]
    if isinstance(replies, str):
        responses = completion(replies)
    elif callable(replies):
        responses = replies
    else:
        responses = [completion(reply) if isinstance(reply, str) else reply for reply in replies]
    async with serve(responses) as server:
        yield server
