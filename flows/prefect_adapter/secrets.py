"""Prefect secrets: reads secrets from the Secret blocks of a Prefect server."""

import asyncio
from typing import Any, cast

from prefect.blocks.system import Secret

from engine.json_values import as_text

FETCH_TIMEOUT_SECONDS = 10.0
"""Timeout for the server, in seconds. It is short because the sender of a webhook may wait, and
Prefect's client would retry for minutes."""


def block_name(name: str) -> str:
    """Return the block name of a secret; Prefect accepts lower case, digits and dashes."""
    return name.lower().replace("_", "-")


async def fetch_secret(name: str) -> str | None:
    """Return the value of the Secret block for ``name``; ``None`` if it does not exist.

    Raises:
        Exception: If the server is unavailable.
    """
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
            block = cast("Secret[Any]", await Secret.aload(block_name(name)))
    except ValueError:  # Prefect's error for a block that does not exist
        return None
    return as_text(block.get())
