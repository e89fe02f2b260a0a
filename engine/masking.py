"""Masking: the values of secrets, wherever they would leave the process, become ``***``.

There is one list of values for the whole process. Everything that a handler gives away (results,
errors) and every line of the log is masked against it, whichever execution used the secret: an
answer may come back to another one, or after a restart.
"""

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import quote, quote_plus

from engine.credential_headers import is_credential_header
from engine.values import JsonValue

MASK = "***"
SHORTEST_SECRET = 4
"""Characters. A shorter one is in too many texts by chance, and masking would destroy them."""
_SHORTEST_PART = 8
"""Characters of the beginning of a secret that an error cut off there may not show either."""
_SHORTEST_LINE = 8

_URL_CHARACTERS = "".join(chr(i) for i in range(0x21, 0x7F) if chr(i) not in '"#<>')
_LEFT_IN_URLS = (
    "",
    "/",
    "!$&'()*+,;=:@/?",
    *(
        "".join(c for c in _URL_CHARACTERS if c not in escaped)
        for escaped in ("", "%", "?`{}", "%?`{}", "?`{}/:;=@[]\\^|", "%?`{}/:;=@[]\\^|")
    ),
)
"""What clients leave as it is in a path, a query or a user's name: RFC 3986 lets them choose, and
the http node's client does as the URL standard of browsers says.
"""

_LETTERS = "[A-Za-z0-9+/]"
_LINE_END = r"(?:\r?\n|(?:\\+r)?\\+n)[ \t]*"
"""Of a text, and of one inside of JSON or of JSON in JSON; what follows may be indented."""
_LINE_ENDS = re.compile(_LINE_END)
_IN_LINES = re.compile(
    rf"(?:(?<!{_LETTERS})|(?<=\\n))(?:{_LETTERS}{{60,76}}{_LINE_END})+{_LETTERS}+"
)
"""Base64 as MIME (76 columns), PEM (64) and others (60) break it into lines, or hex. All lines but
the last are full, so that prose is no such thing.
"""
_FULL_LINE = re.compile(rf"[\r\n\\](?<={_LETTERS}{{60}}.)", re.DOTALL)
"""The end of such a line; texts without one are passed over a hundred times as quickly."""
_UNBROKEN = re.compile(f"{_LETTERS}+")


class Masker:
    """The values that are never shown, in every spelling in which they may appear."""

    def __init__(self) -> None:
        self._spellings: tuple[str, ...] = ()
        self._in_json: tuple[str, ...] = ()
        self._in_order: tuple[str, ...] = ()
        self._in_lines: tuple[str, ...] = ()

    def learn(self, value: str) -> None:
        """From now on ``value`` is masked.

        Raises:
            ValueError: it is shorter than ``SHORTEST_SECRET``.
        """
        if len(value) < SHORTEST_SECRET:
            raise ValueError(f"is shorter than {SHORTEST_SECRET} characters")
        if value not in self._spellings:
            known = {*self._spellings, *_spellings(value)}
            # The longest first: a part of one must not be taken out of its middle.
            self._spellings = tuple(sorted(known, key=lambda text: (-len(text), text)))
            self._in_json = tuple({json.dumps(text, ensure_ascii=False)[1:-1] for text in known})
            self._in_order = tuple(sorted(known))
            self._in_lines = tuple(filter(_UNBROKEN.fullmatch, self._spellings))

    def holds(self, text: str) -> bool:
        """Whether a secret stands in ``text``."""
        return any(spelling in text for spelling in self._spellings)

    def holds_json(self, text: str) -> bool:
        """As ``holds``, of the texts in a JSON text, which has an escape more before each quote."""
        if any(spelling in text for spelling in self._in_json):
            return True
        if not self._in_lines or not _FULL_LINE.search(text):
            return False
        blocks = _IN_LINES.finditer(text)
        return any(self._masked_block(block) != block[0] for block in blocks)

    def text(self, text: str) -> str:
        """``text`` with every secret masked."""
        # First what is broken into lines: with a mask in one they would not be found together.
        if self._in_lines and _FULL_LINE.search(text):
            text = _IN_LINES.sub(self._masked_block, text)
        for spelling in self._spellings:
            if spelling in text:
                text = text.replace(spelling, MASK)
        return text

    def _masked_block(self, block: re.Match[str]) -> str:
        """The block as it is; in one line where a secret was in it."""
        whole = _LINE_ENDS.sub("", block[0])
        masked = whole
        for spelling in self._in_lines:
            if spelling in masked:
                masked = masked.replace(spelling, MASK)
        return block[0] if masked == whole else masked

    def unfinished(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a secret: of a text
        that comes in pieces they are shown when it is known what follows.
        """
        longest = min(len(text), len(self._spellings[0]) - 1 if self._spellings else 0)
        return next((i for i in range(longest, 0, -1) if self._begins_one(text[-i:])), 0)

    def _begins_one(self, text: str) -> bool:
        # What begins with a text follows it in order. To keep all beginnings takes megabytes.
        at = bisect_left(self._in_order, text)
        return at < len(self._in_order) and self._in_order[at].startswith(text)

    def error(self, text: str) -> str:
        """As ``text``; also the beginning of a secret that was cut off in the middle."""
        text = self.text(text)
        for spelling in self._spellings:
            head = spelling[:_SHORTEST_PART]
            if len(spelling) <= _SHORTEST_PART:
                continue
            at = text.find(head)
            while at >= 0:
                end = at + _common(text[at : at + len(spelling)], spelling)
                text = f"{text[:at]}{MASK}{text[end:]}"
                at = text.find(head, at + len(MASK))
        return text

    def value(self, value: JsonValue) -> JsonValue:
        """A JSON value with every secret in its texts, names of fields and numbers masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            fields = cast("Mapping[str, JsonValue]", value)
            return {self.text(key): self.value(inner) for key, inner in fields.items()}
        if isinstance(value, list):
            return [self.value(item) for item in cast("list[JsonValue]", value)]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if self.holds(str(value)) else value
        return value


SECRETS = Masker()
"""The process's one masker."""


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return ``headers`` with a mask for the value of every credential header."""
    return {name: MASK if is_credential_header(name) else value for name, value in headers.items()}


def _spellings(value: str) -> Iterator[str]:
    lines = [line for line in value.splitlines() if len(line) >= _SHORTEST_LINE]
    plain = {value, value.strip(), *lines}
    for text in plain:
        if len(text) >= SHORTEST_SECRET:
            yield text.encode().hex()
            yield text.encode().hex().upper()
    plain |= {changed for text in plain for changed in (text.upper(), text.lower())}
    for text in plain:
        if len(text) < SHORTEST_SECRET:
            continue
        # As JSON it may stand in a query, in a page or in base64 in its turn.
        for form in {text, *_in_json(text)}:
            yield from _escaped(form)
            for raw in (form.encode(), f":{form}".encode()):
                yield base64.b64encode(raw).decode()
            yield from _within_base64(form.encode())


def _escaped(text: str) -> Iterator[str]:
    yield text
    for once in _in_json(text):
        yield once
        yield from _in_json(once)
    yield repr(text)[1:-1]
    page = html.escape(text)
    yield page
    yield page.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    for encoded in {quote_plus(text), *(quote(text, safe=safe) for safe in _LEFT_IN_URLS)}:
        yield encoded
        yield "".join(_small_escapes(encoded))


def _in_json(text: str) -> set[str]:
    return {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}


def _small_escapes(encoded: str) -> Iterator[str]:
    """``%2F`` as ``%2f``: either is right."""
    first, *rest = encoded.split("%")
    yield first
    for part in rest:
        yield f"%{part[:2].lower()}{part[2:]}"


def _within_base64(raw: bytes) -> Iterator[str]:
    """What ``raw`` becomes inside of a longer text's base64, as in Basic authentication: of each
    of the three ways in which it can lie there, the letters that depend on it alone.
    """
    for before in range(3):
        encode = base64.b64encode(bytes(before) + raw).decode()
        start = -(-before * 8 // 6)
        inner = encode[start : (before + len(raw)) * 8 // 6]
        if len(inner) >= SHORTEST_SECRET:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))


def _common(text: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(text))
