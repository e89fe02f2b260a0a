"""Request preferences: the header ``Prefer`` (RFC 7240)."""

import re
from typing import Annotated

from fastapi import Header
from pydantic import WithJsonSchema

MAX_WAIT_SECONDS = 60
"""Maximum time that a request waits for the end of its execution, in seconds."""

_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
"""A preference, which may have commas in quoted strings."""
_EXAMPLE = f"`wait=N`: wait up to N seconds, at most {MAX_WAIT_SECONDS}, for the end."
Prefer = Annotated[
    list[str] | None, Header(description=_EXAMPLE), WithJsonSchema({"type": "string"})
]
"""FastAPI reads repeated headers as a list. Each value may contain several preferences."""


def wait_seconds(prefer: list[str] | None) -> int | None:
    """Return the seconds of the preference ``wait``, at most ``MAX_WAIT_SECONDS``.

    Returns ``None`` without a valid one: the RFC requires that invalid preferences are ignored, and
    that the first of two equal names counts.
    """
    for preference in _PREFERENCE.findall(",".join(prefer or ())):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            if not (seconds.isascii() and seconds.isdigit()):
                return None
            # Cut, because Python limits the digits of ``int``; the result is above the maximum.
            return min(int(seconds.lstrip("0")[:10] or 0), MAX_WAIT_SECONDS)
    return None
