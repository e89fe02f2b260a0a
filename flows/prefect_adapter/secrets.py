"""Secrets that a Prefect server keeps, in its Secret blocks."""

import asyncio
from typing import Any, cast

from prefect.blocks.system import Secret

from engine.json_values import as_text

FETCH_TIMEOUT_SECONDS = 10.0
"""How long the server has for its answer. Prefect's client alone would try for minutes, and the
sender of a delivery may wait for it."""


def block_name(name: str) -> str:
    """The block that holds a secret: Prefect's names have small letters, digits and dashes."""
    return name.lower().replace("_", "-")


async def fetch_secret(name: str) -> str | None:
    """The value of the Secret block for ``name``; ``None`` where there is none.

    Raises:
        Exception: the server cannot be asked.
    """
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
            block = cast("Secret[Any]", await Secret.aload(block_name(name)))
    except ValueError:  # Prefect's word for a document that is not there
        return None
    return as_text(block.get())
