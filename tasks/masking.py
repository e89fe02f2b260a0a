"""Secret masking: replaces the values of secrets with ``***`` in all data that leaves the process.

One masker serves the whole process, because a response can contain a secret of another execution.
One search (Aho-Corasick) finds all encodings of all secrets (decision 0025). Long strings are
searched in chunks, so that masking stops when its node is stopped (``offload.check_stop``).
"""

import base64
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, quote_plus

from ahocorasick_rs import AhoCorasick, MatchKind

from engine.json_values import JsonValue, is_list, is_object
from engine.masking import MASK
from offload import check_stop

MIN_SECRET_CHARS = 4
"""Minimum length of a secret. Shorter values occur by chance, so masking would destroy strings."""
_MIN_PREFIX_CHARS = 8
"""Minimum length of a secret's prefix that is masked at a position where an error was truncated."""
_MIN_LINE_CHARS = 8
"""Minimum length of a line that is masked when it occurs without the rest of its secret."""
_CHUNK_CHARS = 262_144
"""Maximum number of characters that one search reads."""

_URL_CHARACTERS = "".join(chr(i) for i in range(0x21, 0x7F) if chr(i) not in '"#<>')
_URL_SAFE_SETS = (
    "",
    "/",
    "!$&'()*+,;=:@/?",
    *(
        "".join(c for c in _URL_CHARACTERS if c not in escaped)
        for escaped in ("", "%", "?`{}", "%?`{}", "?`{}/:;=@[]\\^|", "%?`{}/:;=@[]\\^|")
    ),
)
"""Characters that clients leave unescaped in a path, query or user name. RFC 3986 permits several
sets; the client of the ``http`` node follows the URL standard of browsers.
"""


@dataclass(frozen=True, slots=True)
class _SecretPatterns:
    """Compiled patterns of one set of encodings."""

    encodings: frozenset[str]
    text: AhoCorasick
    """Finds every encoding."""
    json: AhoCorasick
    """Finds every encoding in JSON text, which escapes it once more."""
    prefixes: AhoCorasick
    """Finds the first characters of each encoding that is longer than these."""
    ordered: tuple[str, ...]
    max_chars: int
    """Length of the longest pattern."""

    @classmethod
    def of(cls, encodings: frozenset[str]) -> Self:
        """Return the compiled patterns of these encodings."""
        in_json = {json.dumps(text, ensure_ascii=False)[1:-1] for text in encodings}
        prefixes = {text[:_MIN_PREFIX_CHARS] for text in encodings if len(text) > _MIN_PREFIX_CHARS}
        return cls(
            encodings,
            _automaton(encodings),
            _automaton(in_json),
            _automaton(prefixes),
            tuple(sorted(encodings)),
            max(map(len, in_json | encodings)),
        )

    def matches(self, automaton: AhoCorasick, text: str) -> Iterator[tuple[int, int]]:
        """Yield the positions of the leftmost longest matches, in order."""
        start_of_chunk = 0
        while start_of_chunk < len(text):
            check_stop()
            # The chunk overlaps the next one, because a match may begin here and end there.
            chunk = text[start_of_chunk : start_of_chunk + _CHUNK_CHARS + self.max_chars]
            next_chunk = start_of_chunk + _CHUNK_CHARS
            for start, end in _matches(automaton, chunk):
                if start >= _CHUNK_CHARS:
                    break
                yield start_of_chunk + start, start_of_chunk + end
                next_chunk = max(next_chunk, start_of_chunk + end)
            start_of_chunk = next_chunk

    def contains(self, automaton: AhoCorasick, text: str) -> bool:
        """Return whether a pattern of ``automaton`` occurs in ``text``."""
        return next(self.matches(automaton, text), None) is not None

    def prefix_matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the positions of prefixes of encodings."""
        for start, _ in self.matches(self.prefixes, text):
            candidate = text[start : start + self.max_chars]
            index = bisect_left(self.ordered, candidate)
            neighbors = self.ordered[max(0, index - 1) : index + 1]
            yield start, start + max(_common_length(candidate, text) for text in neighbors)


class Masker:
    """Values of secrets, in every encoding that is masked."""

    def __init__(self) -> None:
        self._encodings: frozenset[str] = frozenset()
        self._compiled: _SecretPatterns | None = None

    def add_secret(self, value: str) -> None:
        """Mask ``value`` from now on, in all its encodings; ``ValueError`` if it is too short."""
        if len(value) < MIN_SECRET_CHARS:
            raise ValueError(f"is shorter than {MIN_SECRET_CHARS} characters")
        if value not in self._encodings:
            self._encodings = self._encodings.union(_encodings(value))

    def add_literal(self, text: str) -> None:
        """Mask ``text`` from now on, without its other encodings."""
        self._encodings = self._encodings.union({text})

    def contains(self, text: str) -> bool:
        """Return whether ``text`` contains a secret."""
        patterns = self._patterns()
        return patterns is not None and patterns.contains(patterns.text, text)

    def contains_json(self, text: str) -> bool:
        """Return whether a string in a JSON text contains a secret."""
        patterns = self._patterns()
        return patterns is not None and patterns.contains(patterns.json, text)

    def mask(self, text: str) -> str:
        """Return ``text`` with every secret masked."""
        patterns = self._patterns()
        if patterns is None:
            return text
        return _replace(text, patterns.matches(patterns.text, text))

    def mask_truncated(self, text: str) -> str:
        """Return ``text`` with every secret masked, also a secret that was truncated."""
        text = self.mask(text)
        patterns = self._patterns()
        return text if patterns is None else _replace(text, patterns.prefix_matches(text))

    def mask_json(self, value: JsonValue) -> JsonValue:
        """Return a JSON value with every secret in its strings, keys and numbers masked."""
        if isinstance(value, str):
            return self.mask(value)
        if is_object(value):
            return {self.mask(key): self.mask_json(inner) for key, inner in value.items()}
        if is_list(value):
            return [self.mask_json(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if self.contains(str(value)) else value
        return value

    def pending_suffix(self, text: str) -> int:
        """Return the length of the longest suffix of ``text`` with which a secret may begin.

        A stream holds these characters back until its next chunk arrives.
        """
        patterns = self._patterns()
        if patterns is None:
            return 0
        ordered = patterns.ordered
        max_chars = min(len(text), max(map(len, ordered)) - 1)
        return next((i for i in range(max_chars, 0, -1) if _is_prefix(ordered, text[-i:])), 0)

    def _patterns(self) -> _SecretPatterns | None:
        # Compiled at the first use, because a service adds its secrets one by one.
        if not self._encodings:
            return None
        compiled = self._compiled
        if compiled is None or compiled.encodings is not self._encodings:
            compiled = self._compiled = _SecretPatterns.of(self._encodings)
        return compiled


secret_masker = Masker()
"""Masker of the process."""


def _automaton(patterns: Iterable[str]) -> AhoCorasick:
    return AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest, store_patterns=False)


def _matches(automaton: AhoCorasick, text: str) -> Iterator[tuple[int, int]]:
    try:
        matches = automaton.find_matches_as_indexes(text)
    except UnicodeEncodeError:  # a lone surrogate; its replacement does not move the positions
        matches = automaton.find_matches_as_indexes(text.encode(errors="replace").decode())
    for _, start, end in matches:
        yield start, end


def _replace(text: str, matches: Iterable[tuple[int, int]]) -> str:
    """Return ``text`` with a mask for each match; overlapping matches are skipped."""
    parts: list[str] = []
    end_of_last = 0
    for start, end in matches:
        if start >= end_of_last:
            parts += (text[end_of_last:start], MASK)
            end_of_last = end
    return "".join((*parts, text[end_of_last:])) if parts else text


def _is_prefix(ordered: tuple[str, ...], text: str) -> bool:
    # A search in the sorted encodings, because storing all prefixes would take megabytes.
    index = bisect_left(ordered, text)
    return index < len(ordered) and ordered[index].startswith(text)


def _common_length(text: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(text))


def _encodings(value: str) -> Iterator[str]:
    lines = [line for line in value.splitlines() if len(line) >= _MIN_LINE_CHARS]
    for text in {value, value.strip(), *lines}:
        if len(text) < MIN_SECRET_CHARS:
            continue
        # JSON text may itself be part of a query or of base64.
        for form in {text, *(json.dumps(text, ensure_ascii=flag)[1:-1] for flag in (True, False))}:
            yield form
            for encoded in {quote_plus(form), *(quote(form, safe=s) for s in _URL_SAFE_SETS)}:
                yield encoded
                yield _with_lower_case_escapes(encoded)
            yield base64.b64encode(form.encode()).decode()
            yield from _within_base64(form.encode())


def _with_lower_case_escapes(encoded: str) -> str:
    """Return ``%2F`` as ``%2f``, because both are valid."""
    first, *rest = encoded.split("%")
    return "%".join((first, *(part[:2].lower() + part[2:] for part in rest)))


def _within_base64(raw: bytes) -> Iterator[str]:
    """Yield the base64 characters that depend on ``raw`` alone, for each of its three alignments.

    They occur in the base64 of a longer value, such as ``user:password`` in Basic authentication.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        inner = encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]
        if len(inner) >= MIN_SECRET_CHARS:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))
