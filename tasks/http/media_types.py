"""Media types: classifies bodies as JSON, text or binary, by type and by their first bytes."""

import re

from charsets import Charset, find_charset, parameter_of

_MAX_TYPE_CHARACTERS = 1_000
_SNIFFED_BYTES = 1_024
"""Number of bytes at the start of a body that decide whether it is text."""

_TEXT = re.compile(
    r"text/.*|.*\+xml|message/rfc822|application/(?:ecmascript|graphql|javascript|json5|jsonlines|"
    r"ndjson|rtf|sql|toml|typescript|x-javascript|x-ndjson|x-sh|x-www-form-urlencoded|x-yaml|xml|"
    r"xml-dtd|yaml)"
)
_BINARY = re.compile(
    r"(?:audio|font|image|model|video)/|application/(?:"
    r"pdf|zip|gzip|x-gzip|x-tar|x-7z-compressed|x-bzip2?|x-rar|vnd\.rar|java-archive|wasm|"
    r"msword|vnd\.ms-|vnd\.openxmlformats-|vnd\.oasis\.opendocument\.|epub\+zip|"
    r"x-protobuf|protobuf|grpc|cbor|msgpack|x-msgpack|vnd\.apache\.|x-sqlite3|vnd\.sqlite3)"
)
_JSON = frozenset({"application/json", "text/json", "application/x-json"})
_SIGNATURES = (b"%PDF-", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"Rar!")
_CONTROLS = frozenset({*range(9), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
"""Bytes that do not occur in text in an ASCII-compatible encoding (MIME Sniffing Standard, 4)."""


def media_type(content_type: str) -> str:
    """Return the media type of a ``Content-Type`` header, in lower case, without parameters."""
    return content_type[:_MAX_TYPE_CHARACTERS].partition(";")[0].strip().lower()


def charset_of(content_type: str) -> Charset | None:
    """Return the encoding that a ``Content-Type`` names, if it is an encoding of the web.

    Python's names of these encodings, for example ``latin-1`` and ``utf_8``, are accepted too.
    """
    label = parameter_of(content_type, "charset") or ""
    return find_charset(label) or find_charset(re.sub("[-_]", "", label))


def is_json(type_: str) -> bool:
    """Return whether a media type is JSON."""
    return type_ in _JSON or type_.endswith("+json")


def is_text(type_: str) -> bool | None:
    """Return whether a media type is text, or ``None`` if only the body can decide."""
    if is_json(type_) or _TEXT.fullmatch(type_):
        return True
    return False if _BINARY.match(type_) else None


def looks_like_text(data: bytes) -> bool:
    """Return whether a body of an unknown type starts like text in UTF-8."""
    head = data[:_SNIFFED_BYTES]
    if head.startswith(_SIGNATURES) or not _CONTROLS.isdisjoint(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The end of the head may cut a character in two.
        return error.reason == "unexpected end of data"
    return True


def looks_binary(data: bytes) -> bool:
    """Return whether a body that claims to be plain text cannot be text in any web charset."""
    head = data[:_SNIFFED_BYTES]
    return head.startswith(_SIGNATURES) or b"\0" in head
