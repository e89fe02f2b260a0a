"""Secrets that a Prefect server keeps, in its Secret blocks."""

from typing import Any, cast

from prefect.blocks.system import Secret

from engine.values import as_text


def block_name(name: str) -> str:
    """The block that holds a secret: Prefect's names have small letters, digits and dashes."""
    return name.lower().replace("_", "-")


async def fetch_secret(name: str) -> str | None:
    """The value of the Secret block for ``name``; ``None`` where there is none.

    Raises:
        Exception: the server cannot be asked.
    """
    try:
        block = cast("Secret[Any]", await Secret.aload(block_name(name)))
    except ValueError:  # Prefect's word for a document that is not there
        return None
    return as_text(block.get())
