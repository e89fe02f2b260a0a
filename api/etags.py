"""``ETag``, ``If-Match`` and ``If-None-Match`` (RFC 9110, sections 8.8.3 and 13.1)."""

import re
from typing import Annotated

from fastapi import Header
from pydantic import WithJsonSchema

_TAG = re.compile(r'(W/)?"([^"]*)"')

_FIELD = WithJsonSchema({"type": "string"})
"""A list is how several lines of it are read; each is a text, or several parted by commas."""

IfMatch = Annotated[
    list[str] | None, Header(description="The `ETag` that the change is meant for, or `*`."), _FIELD
]
IfNoneMatch = Annotated[
    list[str] | None, Header(description="The `ETag` that the caller has already, or `*`."), _FIELD
]


MASKED = "-masked"
"""Ends the tag of a version whose secrets are masked, because strong tags name exact contents."""


def etag(version: str) -> str:
    """A version as a strong entity tag."""
    return f'"{version}"'


def wanted_versions(if_match: list[str] | None) -> frozenset[str] | None:
    """The versions for which a change is meant; ``None`` for any.

    A weak tag matches none, as the RFC has it; nor does a text that is no tag. A client that read
    the masked form of a version changes the same version.
    """
    if if_match is None or _any(if_match):
        return None
    tags = _TAG.findall(",".join(if_match))
    return frozenset(tag.removesuffix(MASKED) for weak, tag in tags if not weak)


def is_known(if_none_match: list[str] | None, version: str) -> bool:
    """Whether the caller has this version already."""
    if if_none_match is None:
        return False
    return _any(if_none_match) or version in {
        tag for _, tag in _TAG.findall(",".join(if_none_match))
    }


def _any(values: list[str]) -> bool:
    return any(value.strip() == "*" for value in values)
