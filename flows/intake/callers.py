"""Callers: the execution whose ``http`` node sent the request that is handled now.

Such a request has the idempotency key of the node run, which begins with the id of the execution.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_ID_CHARS = 64
"""Maximum length of the id of a calling execution, in characters; the service creates UUIDs."""

_calling: ContextVar[str | None] = ContextVar("calling_execution", default=None)


def calling_execution() -> str | None:
    """Return the id of the calling execution; ``None`` if another program sent the request.

    Any client can send such a key, so the id may be unknown.
    """
    return _calling.get()


@contextmanager
def use_calling_execution(idempotency_key: str) -> Generator[None]:
    """Set the calling execution during the block, if the key has the form of a node run's key."""
    execution_id, separator, _ = idempotency_key.partition(":")
    is_key = bool(separator) and len(execution_id) <= MAX_ID_CHARS
    token = _calling.set(execution_id if is_key else None)
    try:
        yield
    finally:
        _calling.reset(token)
