"""Streams that were opened with a token end when it expires."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from api.auth.middleware import Caller
from api.streaming.messages import Message
from database import Clock


def has_expired(caller: Caller | None, clock: Clock) -> bool:
    """Whether a caller may not stay any longer."""
    if caller is None:
        return True
    return caller.expires_at is not None and caller.expires_at <= clock()


async def until(
    over: Callable[[], bool], messages: AsyncGenerator[Message | None]
) -> AsyncGenerator[Message | None]:
    """The messages that come before it is ``over``.

    Nothing is told after that. The stream ends where the next message would have come, with a sign
    of life at the latest.
    """
    async with aclosing(messages):
        async for message in messages:
            if over():
                return
            yield message
