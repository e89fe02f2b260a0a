"""Web charsets: finds the encodings of the WHATWG Encoding Standard by label, and decodes bytes.

Python has about a hundred more codecs. Some of them need quadratic time (``punycode``), and some
are not encodings of text at all (``zip``, ``rot13``), so a label from outside never reaches
``codecs.lookup``. Decoding reads its input in pieces and calls ``check_stop`` between them.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import webencodings

from offload import check_stop

PIECE_BYTES = 65_536
"""Maximum number of bytes that are decoded between two calls of ``check_stop``."""
MAX_CONTENT_TYPE_CHARACTERS = 4_096
"""Maximum length of a ``Content-Type`` header whose parameters are read."""

_UNUSABLE = {"replacement", "x-user-defined"}
"""Encodings of the standard that do not decode text: the first one rejects every input."""
_SINGLE_BYTE = re.compile(r"windows-|iso-8859-|koi8-|ibm866|macintosh|x-mac-")
_UNDEFINED = "\ufffe"
"""The mark of ``codecs.charmap_decode`` for a byte without a character."""
_C1_CONTROLS = range(0x80, 0xA0)
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')


@dataclass(frozen=True, slots=True)
class Charset:
    """An encoding that web browsers support."""

    name: str
    """Its name in the standard, in lower case: ``windows-1252``."""

    def decode(self, data: bytes, errors: str = "strict") -> str:
        """Return ``data`` as text; a byte order mark of UTF-8 or UTF-16 wins over the encoding.

        ``errors`` is ``strict``, or ``replace`` for U+FFFD in place of each invalid sequence.

        Raises:
            UnicodeDecodeError: If ``errors`` is ``strict`` and ``data`` is not in this encoding.
            WorkStoppedError: If the work was stopped in the meantime.
        """
        for mark, name in _MARKS:
            if data.startswith(mark):
                return "".join(_decoded(data[len(mark) :], name, errors))
        return "".join(_decoded(data, self.name, errors))


UTF_8 = Charset("utf-8")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)


def find_charset(label: str) -> Charset | None:
    """Return the encoding with this label, such as ``latin1``, or ``None`` for an unknown one."""
    encoding = webencodings.lookup(label) if label.isascii() else None
    if encoding is None or encoding.name in _UNUSABLE:
        return None
    return Charset(encoding.name)


def parameter_of(content_type: str, name: str) -> str | None:
    """Return a parameter of a ``Content-Type`` header, without quotes, or ``None``.

    Of an overlong header only the first ``MAX_CONTENT_TYPE_CHARACTERS`` are read.
    """
    for key, quoted, plain in _PARAMETER.findall(content_type[:MAX_CONTENT_TYPE_CHARACTERS]):
        if key.lower() == name:
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            return value.strip() or None
    return None


def _decoded(data: bytes, name: str, errors: str) -> Iterator[str]:
    if _SINGLE_BYTE.match(name):
        table = _table(name, _UNDEFINED if errors == "strict" else "\N{REPLACEMENT CHARACTER}")
        for start in range(0, len(data), PIECE_BYTES):
            check_stop()
            piece = data[start : start + PIECE_BYTES]
            yield codecs.charmap_decode(piece, errors, cast("Any", table))[0]
        return
    decoder = _incremental_decoder(name)(errors)
    for start in range(0, len(data), PIECE_BYTES):
        check_stop()
        yield decoder.decode(data[start : start + PIECE_BYTES])
    yield decoder.decode(b"", final=True)


def _incremental_decoder(name: str) -> type[codecs.IncrementalDecoder]:
    encoding = webencodings.lookup(name)
    assert encoding is not None  # ``find_charset`` returned it
    return cast("type[codecs.IncrementalDecoder]", encoding.codec_info.incrementaldecoder)


@cache
def _table(name: str, undefined: str) -> str:
    """Return the 256 characters of a single-byte encoding, ``undefined`` for a byte without one.

    The standard maps a byte without a character between 0x80 and 0x9F to the control character of
    the same number; Python rejects it.
    """
    encoding = webencodings.lookup(name)
    assert encoding is not None
    characters: list[str] = []
    for byte in range(256):
        try:
            character = encoding.codec_info.decode(bytes([byte]), "strict")[0]
        except UnicodeDecodeError:
            character = chr(byte) if byte in _C1_CONTROLS else undefined
        characters.append(character)
    return "".join(characters)
