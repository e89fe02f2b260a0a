"""Body decoding: decompresses gzip and decodes charsets, both with limits.

Every function here is CPU-bound. Callers run it off the event loop for a large body.
"""

import zlib
from gzip import BadGzipFile, GzipFile
from io import BytesIO

from charsets import UTF_8, Charset, find_charset, parameter_of
from engine.request_errors import BodyTooLargeError, ContentEncodingError, InvalidBodyError
from offload import check_stop

MAX_CONTENT_TYPE_CHARACTERS = 4_096
"""Maximum length of a ``Content-Type`` header, in characters."""

_GZIP = {"gzip", "x-gzip"}
_NOT_CODED = {"", "identity", "none", "binary"}
"""Content codings that do not change the bytes; ``none`` and charsets are common mistakes."""
_PIECE_BYTES = 65_536


def decompressed(body: bytes, content_encoding: str, max_bytes: int, setting: str) -> bytes:
    """Return ``body`` without its ``Content-Encoding``, which is blank if the header is missing.

    ``setting`` is the name of the setting with ``max_bytes``, for the error.

    Raises:
        ContentEncodingError: If the coding is not supported.
        InvalidBodyError: If the data is not valid gzip, or is truncated.
        BodyTooLargeError: If the decompressed body is larger than ``max_bytes``.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",", 8)]
    codings = [name for name in codings if name not in _NOT_CODED and find_charset(name) is None]
    if not codings:
        return body
    if len(codings) > 1 or codings[0] not in _GZIP:
        raise ContentEncodingError(content_encoding[:80])
    return _decompressed_gzip(body, max_bytes, setting)


def _decompressed_gzip(body: bytes, max_bytes: int, setting: str) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        with GzipFile(fileobj=BytesIO(body)) as file:
            while piece := file.read(_PIECE_BYTES):
                check_stop()
                size += len(piece)
                if size > max_bytes:
                    raise BodyTooLargeError(max_bytes, setting)
                pieces.append(piece)
    except EOFError:
        raise _bad_gzip("the gzip data of the body is truncated") from None
    except (BadGzipFile, zlib.error):
        raise _bad_gzip("the body is not valid gzip data") from None
    return b"".join(pieces)


def _bad_gzip(detail: str) -> InvalidBodyError:
    return InvalidBodyError("invalid_content_encoding", detail)


def media_type_of(content_type: str) -> str:
    """Return the media type of a ``Content-Type`` header in lower case, blank if it is missing.

    Raises:
        InvalidBodyError: If the header is longer than ``MAX_CONTENT_TYPE_CHARACTERS``.
    """
    if len(content_type) > MAX_CONTENT_TYPE_CHARACTERS:
        detail = f"'Content-Type' has more than {MAX_CONTENT_TYPE_CHARACTERS} characters"
        raise InvalidBodyError("invalid_content_type", detail)
    return content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str, default: Charset = UTF_8) -> Charset:
    """Return the charset that a ``Content-Type`` header names, ``default`` without one.

    Raises:
        InvalidBodyError: If the charset is not in the WHATWG Encoding Standard.
    """
    label = parameter_of(content_type, "charset")
    if label is None:
        return default
    charset = find_charset(label)
    if charset is None:
        detail = (
            f"the charset '{label[:80]}' is not supported; supported are UTF-8 and the other "
            "charsets of the WHATWG Encoding Standard"
        )
        raise InvalidBodyError("unknown_charset", detail)
    return charset


def is_json_type(media_type: str) -> bool:
    """Return whether a media type is one of JSON."""
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def decoded(data: bytes, charset: Charset, part: str, code: str) -> str:
    """Return ``data`` as a string.

    Raises:
        InvalidBodyError: If ``data`` is not valid in this charset. The error names ``part``.
    """
    try:
        return charset.decode(data)
    except UnicodeDecodeError as error:
        position = error.start if len(data) <= _PIECE_BYTES else None
        where = "" if position is None else f" at byte {position}"
        detail = (
            f"{part} is not valid {charset.name.upper()}{where}; name its charset in 'Content-Type'"
        )
        raise InvalidBodyError(code, detail) from None
