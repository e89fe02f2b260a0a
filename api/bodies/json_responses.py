"""JSON responses: encoded off the event loop if they are large."""

from collections.abc import Callable
from typing import Any

from fastapi import Response

from api.pagination import encode_cursor
from api.schemas.base import ApiModel
from database.queries.listings import Page
from offload import run_sized


async def encoded(size: int, encode: Callable[[], bytes]) -> Response:
    """Return a response with the body that ``encode`` returns, which must not use the event loop.

    It runs in a thread if it reads more than ``MAX_INLINE_BYTES``; ``size`` is approximate.
    """
    return Response(await run_sized(size, encode), media_type="application/json")


async def encoded_model(size: int, build: Callable[[], ApiModel]) -> Response:
    """Return a response with the model that ``build`` returns; see ``encoded``."""
    return await encoded(size, lambda: build().model_dump_json(by_alias=True).encode())


async def encoded_page(
    model: type[ApiModel],
    name: str,
    page: Page[Any, Any],
    item_chars: int,
    **more: object,
) -> Response:
    """Return a page as the response of a list.

    Args:
        model: the model of the response.
        name: its field with the items.
        page: the items, and the cursor of the next page.
        item_chars: the approximate size of an item, in characters.
        more: further fields of the response.
    """
    return await encoded_model(
        item_chars * len(page.items),
        lambda: model.of_fields({name: page.items, "next_cursor": encode_cursor(page.end), **more}),
    )
