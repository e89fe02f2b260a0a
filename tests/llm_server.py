"""A server on loopback that speaks chat completions, with the replies that a test gives it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from tests.servers import Handler, Request, Response, ScriptedServer, serve


def completion(
    content: Any,
    *,
    model: str = "served",
    finish_reason: str = "stop",
    tokens: tuple[int, int] = (7, 3),
) -> Response:
    """A chat completion with one choice; ``tokens`` are those of the prompt and of the reply."""
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


def messages_of(request: Request) -> list[dict[str, str]]:
    """The conversation that a request carried."""
    return request.json["messages"]


@asynccontextmanager
async def serve_replies(
    replies: str | list[str | Response] | Handler,
) -> AsyncGenerator[ScriptedServer]:
    """A running server: one reply for all calls, one after the other, or a function's answers."""
    answer: Handler | Response | list[Response]
    if isinstance(replies, str):
        answer = completion(replies)
    elif callable(replies):
        answer = replies
    else:
        answer = [completion(reply) if isinstance(reply, str) else reply for reply in replies]
    async with serve(answer) as server:
        yield server
