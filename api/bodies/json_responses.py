"""JSON responses: encoded off the event loop if they are large."""

from collections.abc import Callable

from fastapi import Response

from api.schemas.base import ApiModel
from offload import run_sized


class EncodedJson(Response):
    """A response whose body is already JSON."""

    media_type = "application/json"


async def encoded(size: int, encode: Callable[[], bytes]) -> EncodedJson:
    """Return a response with the body that ``encode`` returns.

    Args:
        size: Approximate size of the data that ``encode`` reads, in characters. Above
            ``MAX_INLINE_BYTES`` it runs in a thread.
        encode: Creates the body; it must not use the event loop.
    """
    return EncodedJson(await run_sized(size, encode))


async def encoded_model(size: int, build: Callable[[], ApiModel]) -> EncodedJson:
    """Return a response with the model that ``build`` returns; see ``encoded``."""
    return await encoded(size, lambda: build().model_dump_json(by_alias=True).encode())
