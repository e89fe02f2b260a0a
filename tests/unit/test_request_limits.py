"""Limits of request bodies, and of a response whose request body does not arrive."""

import asyncio
from typing import Any

from starlette.exceptions import HTTPException

from api.middleware import RequestBodyLimitMiddleware

SCOPE: dict[str, Any] = {"type": "http", "path": "/", "headers": []}
START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _sent(
    app: Any, receive: Any, max_bytes: int = 10, seconds: float = 0.01
) -> list[dict[str, Any]]:
    """Return the messages that an application sends behind the limit."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await RequestBodyLimitMiddleware(app, max_bytes, seconds)(SCOPE, receive, send)
    return sent


async def test_a_stream_whose_request_body_does_not_arrive_is_completed():
    received: list[Any] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PART)
        received.append(await receive())

    assert await _sent(stream, _never) == [START, PART, LAST]
    assert received == [{"type": "http.disconnect"}]


async def test_a_response_that_is_complete_gets_no_further_part():
    async def respond(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await receive()
        await send(LAST)

    assert await _sent(respond, _never) == [START, LAST]

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PART)

    assert await _sent(stream, _never) == [START, PART]


async def _status(parts: list[bytes], max_bytes: int) -> int | None:
    """Return the status with which a body in parts is rejected."""
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await _never()

    found: list[int] = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except HTTPException as error:
            found.append(error.status_code)

    await _sent(read, receive, max_bytes, 60)
    return found[0] if found else None


async def test_a_body_is_accepted_up_to_its_limit_and_rejected_above_it():
    assert await _status([b"12345", b"67890"], 10) is None
    assert await _status([b"12345", b"678901"], 10) == 413
    assert await _status([b"12345"], 4) == 413


async def test_a_body_that_does_not_arrive_is_rejected_before_the_response():
    found: list[int] = []

    async def read(scope: Any, receive: Any, send: Any) -> None:
        try:
            await receive()
        except HTTPException as error:
            found.append(error.status_code)

    assert await _sent(read, _never) == []
    assert found == [408]
