"""JSON responses: encoded off the event loop if they are large."""

from collections.abc import Callable

from fastapi import Response

from api.schemas.base import ApiModel
from offload import run_sized


async def encoded(size: int, encode: Callable[[], bytes]) -> Response:
    """Return a response with the body that ``encode`` returns, which must not use the event loop.

    It runs in a thread if it reads more than ``MAX_INLINE_BYTES``; ``size`` is approximate.
    """
    return Response(await run_sized(size, encode), media_type="application/json")


async def encoded_model(size: int, build: Callable[[], ApiModel]) -> Response:
    """Return a response with the model that ``build`` returns; see ``encoded``."""
    return await encoded(size, lambda: build().model_dump_json(by_alias=True).encode())
