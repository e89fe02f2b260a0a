"""URL templates: encodes each value for its position, so that it changes no other part of a URL.

The literal text determines scheme and host, because a value of the input must not decide which
server receives the secrets of a call. Only a URL that is one single placeholder is data as a whole,
for example a link of an earlier response.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

import httpx2

from engine.json_values import JsonValue, as_text
from tasks.config.base import fill
from tasks.http.client import parse_url
from tasks.templating.render import is_placeholder, split_placeholders

MAX_URL_CHARACTERS = 65_536
"""Maximum length of a URL; that of the HTTP client."""

_MARK = "\0"
"""Mark of a placeholder; no URL contains it."""
_URL = re.compile(
    r"(?P<start>[Hh][Tt][Tt][Pp][Ss]?://(?:(?P<userinfo>[^/?#]*)@)?)"
    r"(?P<host>\[[^\]/?#]*\]|[^:/?#]*)(?P<colon>:?)(?P<port>[^/?#]*)"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
_LITERAL_HOST = (
    "should contain the scheme and the host as literal text, as in https://api.example/{{ id }}; "
    "a placeholder can be the whole URL, the user, the port, or a part of the path, the query or "
    "the fragment"
)
_URLENCODED = re.compile(r"\|\s*urlencode\s*(?:\(\s*\)\s*)?\}\}$")
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")
_PORT = re.compile(r"[0-9]{1,5}")
_DOTS = frozenset({".", ".."})

URL_PATTERN = (
    r"^\s*(?:[Hh][Tt][Tt][Pp][Ss]?://(?:[^/?#]*@)?[^\s/?#@{}]*[^\s/?#@{}:]"
    r"(?::(?:[0-9]*|\{\{[^{}]*\}\}))?(?:[/?#]|\s*$)|\{\{(?:(?!\}\})[\s\S])*\}\}\s*$)"
)
"""The regular expression of the JSON Schema for the same rules."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a URL template."""

    literals: Sequence[str]
    """The text before, between and after the placeholders."""
    placeholders: Sequence[str]
    match: re.Match[str]
    """The parts of the URL with a mark for each placeholder."""

    def is_port(self, index: int) -> bool:
        """Return whether the placeholder with this number is the port."""
        position = sum(len(text) + 1 for text in self.literals[: index + 1]) - 1
        start, end = self.match.span("port")
        return start <= position < end


def check_url_template(template: str) -> None:
    """Raise a ``ValueError`` like that of ``parse_url`` for an invalid literal part of a URL."""
    template = template.strip()
    if not is_placeholder(template):
        _parts(template)


def fill_url(setting: str, template: str, data: JsonValue) -> httpx2.URL:
    """Return the URL of a template over ``data``.

    Raises a ``TemplateError`` for a missing field, and a ``ValueError`` like ``parse_url``.
    """
    template = template.strip()
    if is_placeholder(template):
        return parse_url(as_text(fill(setting, template, data)).strip())
    parts = _parts(template)
    if not parts.placeholders:
        return parse_url(template)
    values: list[str] = [as_text(value) for value in fill(setting, list(parts.placeholders), data)]
    encoded = [_encoded(parts, index, value) for index, value in enumerate(values)]
    _check_dots(parts, encoded)
    text = _joined(parts.literals, encoded)
    if len(text) > MAX_URL_CHARACTERS:
        raise ValueError(f"should have at most {MAX_URL_CHARACTERS} characters, not {len(text)}")
    url, literal = parse_url(text), parse_url(_example(parts.match.string, parts))
    if (url.scheme, url.host, url.userinfo.count(b":")) != (
        literal.scheme,
        literal.host,
        literal.userinfo.count(b":"),
    ):
        raise ValueError(_LITERAL_HOST)  # a second check: no encoded value reaches it
    return url


def _parts(template: str) -> _Parts:
    literals, placeholders = split_placeholders(template)
    if any(_MARK in text for text in literals):
        raise ValueError("should not contain a control character")
    skeleton = _MARK.join(literals)
    match = _URL.fullmatch(skeleton)
    if match is None:
        if placeholders and not skeleton.partition("://")[0].isalpha():
            raise ValueError(_LITERAL_HOST)
        raise ValueError("should start with http:// or https://")
    port = match["port"]
    if _MARK in match["host"] or (_MARK in port and (port != _MARK or not match["colon"])):
        raise ValueError(_LITERAL_HOST)
    parts = _Parts(literals, placeholders, match)
    parse_url(_example(skeleton, parts) if placeholders else template)
    return parts


def _example(skeleton: str, parts: _Parts) -> str:
    """Return the URL with a harmless value for each placeholder."""
    start, end = parts.match.span("port")
    port = skeleton[start:end].replace(_MARK, "1")
    return (skeleton[:start] + port + skeleton[end:]).replace(_MARK, "x")


def _encoded(parts: _Parts, index: int, value: str) -> str:
    if parts.is_port(index):
        if not _PORT.fullmatch(value):
            raise ValueError(f"should have a port of digits, not '{value[:20]}'")
        return value
    if _URLENCODED.search(parts.placeholders[index]):
        # The filter's escapes stay, and an object becomes parameters where a parameter starts.
        safe = "&=" if parts.literals[index].endswith(("?", "&")) else ""
        pieces = _ESCAPE.split(value)
        return "".join(
            piece if number % 2 else quote(piece, safe=safe, errors="replace")
            for number, piece in enumerate(pieces)
        )
    return quote(value, safe="", errors="replace")


def _check_dots(parts: _Parts, encoded: Sequence[str]) -> None:
    """Reject a value that results in a segment ``.`` or ``..``, because servers resolve it.

    Escapes do not help, because ``%2e%2e`` means the same (RFC 3986, 6.2.2.2).
    """
    values = iter(encoded)
    before, path = parts.match.start("path"), parts.match["path"]
    for _ in range(parts.match.string.count(_MARK, 0, before)):
        next(values)
    for segment in path.split("/"):
        marks = segment.count(_MARK)
        if not marks:
            continue
        literals = segment.split(_MARK)
        filled = _joined(literals, [next(values) for _ in range(marks)])
        if unquote(filled.partition(";")[0]) in _DOTS:
            raise ValueError(
                f"has a path in which a value results in the segment '{unquote(filled)}', "
                "which would remove another segment"
            )


def _joined(literals: Sequence[str], values: Sequence[str]) -> str:
    pieces = [literals[0]]
    for value, literal in zip(values, literals[1:], strict=True):
        pieces += (value, literal)
    return "".join(pieces)
