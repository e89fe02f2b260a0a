"""Response bodies: reads JSON, text in the encodings of the web, and binary data."""

import re
from base64 import b64encode
from dataclasses import dataclass

import httpx2

from charsets import UTF_8, Charset, find_charset
from engine.json_pieces import load_json_in_pieces
from engine.json_values import JsonValue
from offload import check_stop
from tasks.http.media_types import (
    charset_of,
    is_json,
    is_text,
    looks_binary,
    looks_like_text,
    media_type,
)

_DECLARING_BYTES = 4_096
"""Number of bytes at the start of a document that are searched for its encoding."""
_XML = re.compile(rb"\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_META = re.compile(rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]+)", re.IGNORECASE)
_CSS = re.compile(rb"@charset \"([A-Za-z0-9._:-]+)\";")
_HTML = re.compile(
    rb"\s*(?:<!--.{0,1000}?-->\s*)*<(?:!doctype\s+html|html|head|meta)\b", re.IGNORECASE | re.DOTALL
)
_UNMARKED_XML = ((b"<\0?\0x\0m\0l\0", "utf-16le"), (b"\0<\0?\0x\0m\0l", "utf-16be"))
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded body of a response."""

    content: bytes
    content_type: str = ""
    """The header of that name; empty if the response has none."""

    @classmethod
    def of(cls, response: httpx2.Response) -> "Body":
        """Return the body of a response that was received."""
        return cls(response.content, response.headers.get("Content-Type", ""))

    @property
    def is_json(self) -> bool:
        """Whether the response declares its body to be JSON."""
        return is_json(media_type(self.content_type))

    def text(self, end: int | None = None) -> str:
        """Return the first ``end`` bytes, or all, as text; U+FFFD replaces invalid bytes."""
        return self._charset().decode(self.content[:end], "replace")

    def value(self, response_type: str) -> JsonValue:
        """Return the value of a body: JSON, else ``{"response": text}``, else a binary object.

        Without ``text`` as its type, a body that looks like JSON is parsed.
        """
        if response_type != "text" and self.is_binary():
            return {
                "base64": b64encode(self.content).decode(),
                "contentType": self.content_type.strip() or "application/octet-stream",
                "size": len(self.content),
            }
        text = self.text()
        if response_type != "text" and (self.is_json or text.lstrip().startswith(("{", "["))):
            try:
                return load_json_in_pieces(text, check_stop)
            except ValueError:
                pass
        return {"response": text}

    def json(self) -> JsonValue:
        """Return the value of a body, or raise a ``ValueError`` if it is not JSON."""
        return load_json_in_pieces(self.text(), check_stop)

    def is_binary(self) -> bool:
        """Return whether the body is not text in any encoding."""
        if not self.content:
            return False
        type_ = media_type(self.content_type)
        textual = is_text(type_)
        if textual is False:
            return True
        if self._named() or self.content.startswith(_MARKS):
            return False
        if textual is None:
            return not looks_like_text(self.content) and not self._declared()
        # Servers declare a file as text/plain if its type is unknown.
        return type_ == "text/plain" and looks_binary(self.content)

    def _named(self) -> Charset | None:
        return charset_of(self.content_type)

    def _charset(self) -> Charset:
        return self._named() or self._declared() or UTF_8

    def _declared(self) -> Charset | None:
        """Return the encoding that the document itself declares."""
        head = self.content[:_DECLARING_BYTES]
        for start, name in _UNMARKED_XML:
            if head.startswith(start):
                return Charset(name)
        declaration = _XML.match(head) or _CSS.match(head)
        if declaration is None and ("html" in media_type(self.content_type) or _HTML.match(head)):
            declaration = _META.search(head)
        charset = find_charset(declaration[1].decode("ascii")) if declaration else None
        # A document whose declaration is readable as ASCII is not in UTF-16.
        return UTF_8 if charset is not None and charset.name.startswith("utf-16") else charset
