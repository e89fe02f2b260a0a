"""Request headers: checks the names and values that a workflow may set."""

import re

HEADER_NAME_PATTERN = r"^\s*[!#$%&'*+.^_`|~0-9A-Za-z-]*\s*$"
"""Regular expression of a JSON Schema for an empty or valid name."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Framing and hop-by-hop headers (RFC 9110, 7.6.1; RFC 9112, 6). If two contradict each other, a
server and the proxy in front of it parse different requests (request smuggling)."""
_PROXY_PREFIX = "proxy-"
_SHOWN_CHARACTERS = 60

HOST = "host"


def check_header_name(name: str) -> str:
    """Return ``name``, if a workflow may send a header with this name.

    Raises:
        ValueError: If it cannot be the name of a header, or is a framing or hop-by-hop header.
    """
    shown = name[:_SHOWN_CHARACTERS]
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{shown}' is not a valid header name")
    # Servers that turn headers into variables do not distinguish a dash from an underscore.
    plain = name.lower().replace("_", "-")
    if plain in _CONNECTION_HEADERS or plain.startswith(_PROXY_PREFIX):
        raise ValueError(
            f"header '{shown}' cannot be set: framing and hop-by-hop headers belong to the "
            "connection, which the service manages"
        )
    return name


def check_header_value(name: str, value: str) -> str:
    """Return ``value`` without surrounding white space, if it fits into one line.

    Raises:
        ValueError: If it contains a control character.
    """
    value = value.strip()
    if _CONTROL.search(value):
        raise ValueError(
            f"header '{name[:_SHOWN_CHARACTERS]}' would contain a line break or another control "
            "character"
        )
    return value
