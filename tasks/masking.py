"""Masking: the values of secrets, wherever they would leave the process, become ``***``.

There is one list of values for the whole process. Everything that a handler returns (results,
errors) and every line of the log is masked against it, whichever execution used the secret: a
response may come back to another one, or after a restart.

A text is searched once for all encodings of all secrets (Aho-Corasick), in pieces, so that masking
stops when the work around it is stopped (``offload.check_stop``).
"""

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import quote, quote_plus

from ahocorasick_rs import AhoCorasick, MatchKind

from engine.json_values import JsonValue
from engine.masking import MASK
from offload import check_stop

MIN_SECRET_CHARS = 4
"""Characters. A shorter one is in too many texts by chance, and masking would destroy them."""
_MIN_PART_CHARS = 8
"""Characters of the beginning of a secret that an error cut off there may not show either."""
_MIN_LINE_CHARS = 8
_PIECE = 262_144
"""Characters of a long text that one search reads: between two of them the work can be stopped."""

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
_LETTER = re.compile("[A-Za-mo-qs-z0-9+/]")
"""A letter that is no part of the end of a line, which may be ``\\\\r\\\\n`` in JSON."""


@dataclass(frozen=True, slots=True)
class _SecretPatterns:
    """The automata that find one set of secrets."""

    known: frozenset[str]
    text: AhoCorasick
    """Finds every encoding of every secret."""
    json: AhoCorasick
    """Finds them in a JSON text, in which they are escaped once more."""
    heads: AhoCorasick
    """Finds the first characters of each encoding that is longer than those."""
    unbroken: AhoCorasick
    """Finds the encodings that base64 or hex may break into lines."""
    in_order: tuple[str, ...]
    longest: int
    """Characters of the longest pattern of all automata."""

    @classmethod
    def of(cls, known: frozenset[str]) -> Self:
        """Return the automata for these encodings."""
        in_json = {json.dumps(text, ensure_ascii=False)[1:-1] for text in known}
        return cls(
            known,
            _automaton(known),
            _automaton(in_json),
            _automaton({text[:_MIN_PART_CHARS] for text in known if len(text) > _MIN_PART_CHARS}),
            _automaton(filter(_UNBROKEN.fullmatch, known)),
            tuple(sorted(known)),
            max(map(len, in_json | known), default=0),
        )

    def found(self, automaton: AhoCorasick, text: str) -> Iterator[tuple[int, int]]:
        """Yield where the patterns of ``automaton`` are: the first of them first, the longest."""
        at = 0
        while at < len(text):
            check_stop()
            whole = len(text) <= _PIECE
            # A pattern may begin in this piece and end in the next one.
            piece = text if whole else text[at : at + _PIECE + self.longest]
            following = at + _PIECE
            for start, end in _matches(automaton, piece):
                if start >= _PIECE:
                    break
                yield at + start, at + end
                following = max(following, at + end)
            at = following

    def is_in(self, automaton: AhoCorasick, text: str) -> bool:
        """Return whether ``text`` holds a pattern of ``automaton``."""
        return next(self.found(automaton, text), None) is not None

    def masked(self, automaton: AhoCorasick, text: str) -> str:
        """Return ``text`` with each pattern of ``automaton`` masked."""
        return _without(text, self.found(automaton, text))

    def masked_block(self, block: re.Match[str]) -> str:
        """Return base64 or hex in lines as it is, or in one line if a secret was in it."""
        whole = _joined_lines(block[0])
        masked = self.masked(self.unbroken, whole)
        return block[0] if masked == whole else masked

    def beginnings(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where ``text`` has the beginning of an encoding, eight characters or more."""
        for start, _ in self.found(self.heads, text):
            shown = text[start : start + self.longest]
            at = bisect_left(self.in_order, shown)
            near = self.in_order[max(0, at - 1) : at + 1]
            yield start, start + max(_common(shown, encoding) for encoding in near)


class Masker:
    """The values that are never shown, in every encoding in which they may appear."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._compiled: _SecretPatterns | None = None

    def learn(self, value: str) -> None:
        """Mask ``value`` from now on.

        Raises:
            ValueError: If it is shorter than ``MIN_SECRET_CHARS``.
        """
        if len(value) < MIN_SECRET_CHARS:
            raise ValueError(f"is shorter than {MIN_SECRET_CHARS} characters")
        if value not in self._known:
            self._known = self._known.union(_spellings(value))

    def learn_exactly(self, text: str) -> None:
        """Mask ``text`` from now on, in this encoding alone."""
        self._known = self._known.union({text})

    def holds(self, text: str) -> bool:
        """Return whether ``text`` holds a secret."""
        patterns = self._patterns()
        return patterns is not None and patterns.is_in(patterns.text, text)

    def holds_json(self, text: str) -> bool:
        """As ``holds``, for the strings in a JSON text, in which quotation marks are escaped."""
        patterns = self._patterns()
        if patterns is None:
            return False
        if patterns.is_in(patterns.json, text):
            return True
        if not _FULL_LINE.search(text):
            return False
        blocks = _IN_LINES.finditer(text)
        return any(patterns.masked_block(block) != block[0] for block in blocks)

    def text(self, text: str) -> str:
        """Return ``text`` with every secret masked."""
        patterns = self._patterns()
        if patterns is None:
            return text
        # Broken lines come first: with a mask in one of them they would not be found together.
        if _FULL_LINE.search(text):
            text = _IN_LINES.sub(patterns.masked_block, text)
        return patterns.masked(patterns.text, text)

    def unfinished(self, text: str) -> int:
        """Return how many characters at the end of ``text`` may be the beginning of a secret.

        A text that comes in pieces keeps them back until the next piece is there.
        """
        patterns = self._patterns()
        if patterns is None:
            return 0
        in_order = patterns.in_order
        longest = min(len(text), max(map(len, in_order)) - 1)
        return next((i for i in range(longest, 0, -1) if _begins_one(in_order, text[-i:])), 0)

    def error(self, text: str) -> str:
        """As ``text``; also masks the beginning of a secret that was cut off in the middle."""
        text = self.text(text)
        patterns = self._patterns()
        return text if patterns is None else _without(text, patterns.beginnings(text))

    def value(self, value: JsonValue) -> JsonValue:
        """Return a JSON value with every secret in its strings, keys and numbers masked."""
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

    def _patterns(self) -> _SecretPatterns | None:
        # Compiled at the first use: a service learns its secrets one after another.
        if not self._known:
            return None
        compiled = self._compiled
        if compiled is None or compiled.known is not self._known:
            compiled = self._compiled = _SecretPatterns.of(self._known)
        return compiled


secret_masker = Masker()
"""The process's one masker."""


def _automaton(patterns: Iterable[str]) -> AhoCorasick:
    return AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest, store_patterns=False)


def _matches(automaton: AhoCorasick, text: str) -> Iterator[tuple[int, int]]:
    try:
        found = automaton.find_matches_as_indexes(text)
    except UnicodeEncodeError:  # a lone surrogate; the places of all else stay the same
        found = automaton.find_matches_as_indexes(text.encode(errors="replace").decode())
    for _, start, end in found:
        yield start, end


def _without(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return ``text`` with a mask in each place; a place that begins inside another is passed."""
    parts: list[str] = []
    kept = 0
    for start, end in places:
        if start >= kept:
            parts += (text[kept:start], MASK)
            kept = end
    return "".join((*parts, text[kept:])) if parts else text


def _joined_lines(block: str) -> str:
    """Return a block of lines as one line. One call for 10 MB would hold the interpreter lock."""
    parts: list[str] = []
    start = 0
    while start < len(block):
        check_stop()
        # A piece ends behind a letter, because a line end may have several characters.
        letter = _LETTER.search(block, min(len(block), start + _PIECE))
        end = letter.end() if letter else len(block)
        parts.append(_LINE_ENDS.sub("", block[start:end]))
        start = end
    return "".join(parts)


def _begins_one(in_order: tuple[str, ...], text: str) -> bool:
    # What begins with a text follows it in order. To keep all beginnings takes megabytes.
    at = bisect_left(in_order, text)
    return at < len(in_order) and in_order[at].startswith(text)


def _spellings(value: str) -> Iterator[str]:
    lines = [line for line in value.splitlines() if len(line) >= _MIN_LINE_CHARS]
    plain = {value, value.strip(), *lines}
    for text in plain:
        if len(text) >= MIN_SECRET_CHARS:
            yield text.encode().hex()
            yield text.encode().hex().upper()
    plain |= {changed for text in plain for changed in (text.upper(), text.lower())}
    for text in plain:
        if len(text) < MIN_SECRET_CHARS:
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
        if len(inner) >= MIN_SECRET_CHARS:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))


def _common(text: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(text))
