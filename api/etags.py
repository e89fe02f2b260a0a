"""Entity tags: ``ETag``, ``If-Match`` and ``If-None-Match`` (RFC 9110, 8.8.3 and 13.1)."""

import re
from typing import Annotated

from fastapi import Header
from pydantic import WithJsonSchema

_TAG = re.compile(r'(W/)?"([^"]*)"')

_FIELD = WithJsonSchema({"type": "string"})
"""FastAPI reads repeated headers as a list. Each value may contain several tags and commas."""

IfMatch = Annotated[
    list[str] | None, Header(description="The `ETag` that the workflow must have, or `*`."), _FIELD
]
IfNoneMatch = Annotated[
    list[str] | None, Header(description="The `ETag` that the client already has, or `*`."), _FIELD
]

MASKED = "-masked"
"""Suffix of the tag of a version with masked secrets, because strong tags identify the content."""


def etag(version: str) -> str:
    """Return a version as a strong entity tag."""
    return f'"{version}"'


def required_versions(if_match: list[str] | None) -> frozenset[str] | None:
    """Return the versions that ``If-Match`` accepts; ``None`` for any version.

    Weak tags and invalid values match no version, as the RFC requires. The tag of a masked version
    matches the version itself.
    """
    if if_match is None or _any(if_match):
        return None
    tags = _TAG.findall(",".join(if_match))
    return frozenset(tag.removesuffix(MASKED) for weak, tag in tags if not weak)


def matches_version(if_none_match: list[str] | None, version: str) -> bool:
    """Return whether ``If-None-Match`` contains this version."""
    if if_none_match is None:
        return False
    return _any(if_none_match) or version in {
        tag for _, tag in _TAG.findall(",".join(if_none_match))
    }


def _any(values: list[str]) -> bool:
    return any(value.strip() == "*" for value in values)
