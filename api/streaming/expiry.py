"""Stream expiry: ends the streams of a token when it expires."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from api.auth.callers import Caller
from api.streaming.messages import Message
from database import Clock


def has_expired(caller: Caller | None, clock: Clock) -> bool:
    """Return whether the caller is missing or its token has expired."""
    if caller is None:
        return True
    return caller.expires_at is not None and caller.expires_at <= clock()


async def take_until(
    is_over: Callable[[], bool], messages: AsyncGenerator[Message | None]
) -> AsyncGenerator[Message | None]:
    """Yield messages until ``is_over`` returns true; it is called at each message and ping."""
    async with aclosing(messages):
        async for message in messages:
            if is_over():
                return
            yield message
