"""Web charsets: finds the encodings of the WHATWG Encoding Standard by label, and decodes bytes.

Python has about a hundred more codecs. Some of them need quadratic time (``punycode``), and some
are not encodings of text at all (``zip``, ``rot13``), so a label from outside never reaches
``codecs.lookup``. Decoding reads its input in pieces and calls ``check_stop`` between them.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import webencodings

from offload import check_stop

PIECE_BYTES = 65_536
"""Maximum number of bytes that are decoded between two calls of ``check_stop``."""
MAX_CONTENT_TYPE_CHARACTERS = 4_096
"""Maximum length of a ``Content-Type`` header whose parameters are read."""

_UNUSABLE = {"replacement", "x-user-defined"}
"""Encodings of the standard that do not decode text: the first one rejects every input."""
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')


@dataclass(frozen=True, slots=True)
class Charset:
    """An encoding that web browsers support."""

    name: str
    """Its name in the standard, in lower case: ``windows-1252``."""

    def decode(self, data: bytes, errors: str = "strict") -> str:
        """Return ``data`` as text; a byte order mark of UTF-8 or UTF-16 wins over the encoding.

        Invalid sequences raise a ``UnicodeDecodeError`` if ``errors`` is ``strict``, and become
        U+FFFD if it is ``replace``. ``WorkStoppedError`` means that the work was stopped.
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
    encoding = webencodings.lookup(name)
    assert encoding is not None  # ``find_charset`` returned it
    decoder: codecs.IncrementalDecoder = encoding.codec_info.incrementaldecoder(errors)
    for start in range(0, len(data), PIECE_BYTES):
        check_stop()
        yield decoder.decode(data[start : start + PIECE_BYTES])
    yield decoder.decode(b"", final=True)
