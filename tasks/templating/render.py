"""Template renderer: fills ``{{ … }}`` in the strings of a config for one node run.

``{%`` and ``{#`` have no meaning: such strings are sent to models and other services unchanged.
Values are data: braces in them are not evaluated.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from engine.errors import TemplateError
from engine.json_values import JsonValue, as_text, is_list, is_object
from tasks.context import current_node_run
from tasks.templating.expressions import (
    Expression,
    InvalidExpressionError,
    check_expression,
    compile_expression,
)
from tasks.templating.filters import VALUE_COST, charge, measured, text_limit, text_of, too_long
from tasks.templating.scope import TemplateScope

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_CACHE_SIZE = 1_024
_MAX_CACHED_CHARS = 4_096
"""Maximum length of a string whose parts are cached, so that the cache stays within megabytes."""
_SHOWN = 60
_SIZED = (str, list, dict)

MAX_FILTERED_PLACEHOLDERS = 2_000
"""Maximum number of placeholders with filters in a setting; each costs a third of a millisecond."""
_TOO_MANY = f"more than {MAX_FILTERED_PLACEHOLDERS} placeholders with filters"


@dataclass(frozen=True, slots=True)
class _Placeholder:
    """One ``{{ … }}`` and its position in its string."""

    expression: Expression
    source: str
    at: int

    @property
    def filtered(self) -> bool:
        return self.expression.filtered is not None

    def value(self, scope: TemplateScope) -> JsonValue:
        charge(len(self.source) + VALUE_COST)
        try:
            return self.expression.value(scope.resolve)
        except TemplateError as error:
            if not self.filtered:
                raise
            raise TemplateError(_with_position(str(error), self.source, self.at)) from None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A string split into literals and placeholders."""

    parts: tuple[str | _Placeholder, ...]
    alone: bool
    """Whether the string is a single placeholder."""
    filtered: int
    """Number of placeholders with filters."""


def render(template: JsonValue, data: JsonValue) -> JsonValue:
    """Return ``template`` with the placeholders in all its strings filled.

    A string that is a single placeholder keeps the type of the value; otherwise a value that is not
    a string is inserted as JSON. The strings in objects and lists, and object keys, are filled too.

    Raises:
        TemplateError: If a field is missing, an expression is invalid or fails, the value would be
            larger than the result of a node may be, or the node's templates read too much.
    """
    if isinstance(template, str):
        if "{{" not in template:
            return template
    elif not is_object(template) and not is_list(template):
        return template
    return _Renderer(TemplateScope(data, current_node_run())).fill(template)


def template_errors(template: JsonValue) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path and reason of each expression that is invalid for all data."""
    filtered = 0
    for path, text in _texts(template, ()):
        for match in _matches(text):
            try:
                filtered += check_expression(match[1])
            except InvalidExpressionError as error:
                yield path, _with_position(str(error), match[1], match.start())
            if filtered > MAX_FILTERED_PLACEHOLDERS:
                yield path, _TOO_MANY
                return


def _texts(template: JsonValue, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each string of ``template`` with its path; a key has the path of its value."""
    if isinstance(template, str):
        yield path, template
    elif is_object(template):
        for key, value in template.items():
            yield (*path, key), key
            yield from _texts(value, (*path, key))
    elif is_list(template):
        for index, item in enumerate(template):
            yield from _texts(item, (*path, str(index)))


class _Renderer:
    """State of one rendering: the scope, and the remaining size of its value."""

    __slots__ = ("_filtered", "_left", "_scope", "_sizes", "_values")

    def __init__(self, scope: TemplateScope) -> None:
        self._scope = scope
        self._filtered = 0
        self._left = text_limit()
        self._sizes: dict[int, int] = {}
        self._values = 0

    def fill(self, template: JsonValue) -> JsonValue:
        charge(VALUE_COST)
        if isinstance(template, str):
            return self._text(template)
        if is_object(template):
            return {as_text(self._text(key)): self.fill(value) for key, value in template.items()}
        if is_list(template):
            return [self.fill(item) for item in template]
        return template

    def _text(self, text: str) -> JsonValue:
        if "{{" not in text:
            return text
        charge(len(text))
        parsed = _cached_parts(text) if len(text) <= _MAX_CACHED_CHARS else _parts(text)
        self._filtered += parsed.filtered
        if self._filtered > MAX_FILTERED_PLACEHOLDERS:
            raise TemplateError(_TOO_MANY)
        if parsed.alone:
            value = cast("_Placeholder", parsed.parts[0]).value(self._scope)
            self._charge_repeated(value)
            return value
        pieces: list[str] = []
        for part in parsed.parts:
            piece = part if isinstance(part, str) else text_of(part.value(self._scope))
            self._charge(len(piece))
            pieces.append(piece)
        return "".join(pieces)

    def _charge(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise too_long("the string")

    def _charge_repeated(self, value: JsonValue) -> None:
        """Charge every value but the first, because the first one is in memory anyway."""
        if isinstance(value, _SIZED):
            self._values += 1
            if self._values > 1:
                self._charge(self._size(cast("JsonValue", value)))

    def _size(self, value: JsonValue) -> int:
        """Return the size of a value; it is measured once, because values do not change."""
        size = self._sizes.get(id(value))
        if size is None:
            size = measured(value, self._left)
            if size is None:
                raise too_long("the string")
            self._sizes[id(value)] = size
        return size


def is_placeholder(text: str) -> bool:
    """Return whether ``text`` is a single placeholder, except for white space around it."""
    bare = text.strip()
    # Without a regular expression, because it would need 70 bytes for each character.
    return bare.startswith("{{") and bare.find("}}", 2) == len(bare) - 2 and "{{" not in bare[2:]


def split_placeholders(text: str) -> tuple[list[str], list[str]]:
    """Return the literals and placeholders of ``text``; a literal is before and after each one."""
    literals: list[str] = []
    placeholders: list[str] = []
    end = 0
    for match in _matches(text):
        literals.append(text[end : match.start()])
        placeholders.append(match[0])
        end = match.end()
    return [*literals, text[end:]], placeholders


def _parts(text: str) -> _Parts:
    if is_placeholder(text):
        placeholder = _placeholder(text.strip()[2:-2], text.index("{{"))
        return _Parts((placeholder,), alone=True, filtered=int(placeholder.filtered))
    parts: list[str | _Placeholder] = []
    end = filtered = 0
    for match in _matches(text):
        if match.start() > end:
            parts.append(text[end : match.start()])
        placeholder = _placeholder(match[1], match.start())
        filtered += placeholder.filtered
        if filtered > MAX_FILTERED_PLACEHOLDERS:
            raise TemplateError(_TOO_MANY)
        parts.append(placeholder)
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return _Parts(tuple(parts), alone=False, filtered=filtered)


_cached_parts = functools.lru_cache(maxsize=_CACHE_SIZE)(_parts)


def _matches(text: str) -> Iterator[re.Match[str]]:
    # Up to the last "}}", because a search for the end of later "{{" would be quadratic.
    return _PLACEHOLDER.finditer(text, 0, text.rfind("}}") + 2 if "}}" in text else 0)


def _placeholder(source: str, at: int) -> _Placeholder:
    try:
        expression = compile_expression(source)
    except InvalidExpressionError as error:
        raise TemplateError(_with_position(str(error), source, at)) from None
    return _Placeholder(expression, source, at)


def _with_position(reason: str, source: str, at: int) -> str:
    source = source.strip()
    shown = source if len(source) <= _SHOWN else f"{source[:_SHOWN]}…"
    return f"'{{{{ {shown} }}}}' at character {at + 1}: {reason}"
