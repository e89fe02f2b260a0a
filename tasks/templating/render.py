"""Templates: ``{{ … }}`` in any text of a config, filled for one node run.

``{%`` and ``{#`` mean nothing here: such texts go to models and other services as they are. What a
placeholder brings is data; braces in it are never looked at again.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from engine.errors import TemplateError
from engine.json_values import JsonValue, as_text
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
_KEPT = 1_024
_MAX_CACHED_CHARS = 4_096
"""Characters of a text whose parts are kept, so that all that are kept stay within megabytes."""
_SHOWN = 60
_SIZED = (str, list, dict)

MAX_FILTERED_PLACEHOLDERS = 2_000
"""Placeholders with filters that one setting may have: each costs a third of a millisecond."""
_TOO_MANY = f"there are more than {MAX_FILTERED_PLACEHOLDERS} placeholders with filters"


@dataclass(frozen=True, slots=True)
class _Placeholder:
    """One ``{{ … }}`` and where it stands in its text."""

    expression: Expression
    source: str
    at: int

    @property
    def filtered(self) -> bool:
        return self.expression.filtered is not None

    def value(self, names: TemplateScope) -> JsonValue:
        charge(len(self.source) + VALUE_COST)
        try:
            return self.expression.value(names.resolve)
        except TemplateError as error:
            if not self.filtered:
                raise
            raise TemplateError(_placed(str(error), self.source, self.at)) from None


@dataclass(frozen=True, slots=True)
class _Parts:
    """A text, taken apart: texts as they are, and placeholders."""

    parts: tuple[str | _Placeholder, ...]
    alone: bool
    """Whether it is nothing but one placeholder."""
    filtered: int
    """How many of them have filters."""


def render(template: JsonValue, data: JsonValue) -> JsonValue:
    """``template`` with every placeholder in every text of it filled, for the current node run.

    A text that is nothing but one placeholder keeps the value's type; elsewhere a value that is no
    text stands as JSON. Objects and lists are walked; object keys are filled too.

    Raises:
        TemplateError: there is no such field, an expression is refused or fails, it would all be
            longer than the result of a node may be, or the node's templates read too much.
    """
    if isinstance(template, str):
        if "{{" not in template:
            return template
    elif not isinstance(template, Mapping | list):
        return template
    return _Filling(TemplateScope(data, current_node_run())).fill(cast("JsonValue", template))


def render_text(template: str, data: JsonValue) -> str:
    """As ``render``, but always a text."""
    return as_text(render(template, data))


def refusals(template: JsonValue) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is refused in the texts of ``template`` whatever the data: places in it, and why."""
    filtered = 0
    for place, text in _texts(template, ()):
        for found in _found(text):
            try:
                filtered += check_expression(found[1])
            except InvalidExpressionError as error:
                yield place, _placed(str(error), found[1], found.start())
            if filtered > MAX_FILTERED_PLACEHOLDERS:
                yield place, _TOO_MANY
                return


def _texts(template: JsonValue, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text of ``template`` and where it stands; the name of a field where its value does."""
    if isinstance(template, str):
        yield place, template
    elif isinstance(template, Mapping):
        for key, value in cast("Mapping[str, JsonValue]", template).items():
            yield (*place, key), key
            yield from _texts(value, (*place, key))
    elif isinstance(template, list):
        for index, item in enumerate(cast("list[JsonValue]", template)):
            yield from _texts(item, (*place, str(index)))


class _Filling:
    """One filling of a template: the names, and how much may still come."""

    __slots__ = ("_filtered", "_left", "_names", "_sizes", "_whole")

    def __init__(self, names: TemplateScope) -> None:
        self._names = names
        self._filtered = 0
        self._left = text_limit()
        self._sizes: dict[int, int] = {}
        self._whole = 0

    def fill(self, template: JsonValue) -> JsonValue:
        charge(VALUE_COST)
        if isinstance(template, str):
            return self._text(template)
        if isinstance(template, Mapping):
            fields = cast("Mapping[str, JsonValue]", template)
            return {as_text(self._text(key)): self.fill(value) for key, value in fields.items()}
        if isinstance(template, list):
            return [self.fill(item) for item in cast("list[JsonValue]", template)]
        return template

    def _text(self, text: str) -> JsonValue:
        if "{{" not in text:
            return text
        charge(len(text))
        taken = _kept_parts(text) if len(text) <= _MAX_CACHED_CHARS else _parts(text)
        self._filtered += taken.filtered
        if self._filtered > MAX_FILTERED_PLACEHOLDERS:
            raise TemplateError(_TOO_MANY)
        if taken.alone:
            value = cast("_Placeholder", taken.parts[0]).value(self._names)
            self._charge_whole(value)
            return value
        pieces: list[str] = []
        for part in taken.parts:
            piece = part if isinstance(part, str) else text_of(part.value(self._names))
            self._charge(len(piece))
            pieces.append(piece)
        return "".join(pieces)

    def _charge(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise too_long("the text")

    def _charge_whole(self, value: JsonValue) -> None:
        """One value is there anyway, however large. It is its repetition that may have no end."""
        if isinstance(value, _SIZED):
            self._whole += 1
            if self._whole > 1:
                self._charge(self._size(cast("JsonValue", value)))

    def _size(self, value: JsonValue) -> int:
        """The size of a value that is used again: measured once, as it stays the same."""
        size = self._sizes.get(id(value))
        if size is None:
            size = measured(value, self._left)
            if size is None:
                raise too_long("the text")
            self._sizes[id(value)] = size
        return size


def is_placeholder(text: str) -> bool:
    """Return whether ``text`` is one single placeholder, white space around it aside."""
    bare = text.strip()
    # By hand: a regular expression that says it takes 70 bytes for each character.
    return bare.startswith("{{") and bare.find("}}", 2) == len(bare) - 2 and "{{" not in bare[2:]


def split_placeholders(text: str) -> tuple[list[str], list[str]]:
    """Return the literal texts and the placeholders of ``text``: one literal more, some empty."""
    literals: list[str] = []
    placeholders: list[str] = []
    end = 0
    for found in _found(text):
        literals.append(text[end : found.start()])
        placeholders.append(found[0])
        end = found.end()
    return [*literals, text[end:]], placeholders


def _parts(text: str) -> _Parts:
    if is_placeholder(text):
        one = _placeholder(text.strip()[2:-2], text.index("{{"))
        return _Parts((one,), alone=True, filtered=int(one.filtered))
    parts: list[str | _Placeholder] = []
    end = filtered = 0
    for found in _found(text):
        if found.start() > end:
            parts.append(text[end : found.start()])
        one = _placeholder(found[1], found.start())
        filtered += one.filtered
        if filtered > MAX_FILTERED_PLACEHOLDERS:
            raise TemplateError(_TOO_MANY)
        parts.append(one)
        end = found.end()
    if end < len(text):
        parts.append(text[end:])
    return _Parts(tuple(parts), alone=False, filtered=filtered)


_kept_parts = functools.lru_cache(maxsize=_KEPT)(_parts)


def _found(text: str) -> Iterator[re.Match[str]]:
    # Past the last "}}" no "{{" is closed, and looking for that is quadratic.
    return _PLACEHOLDER.finditer(text, 0, text.rfind("}}") + 2 if "}}" in text else 0)


def _placeholder(source: str, at: int) -> _Placeholder:
    try:
        expression = compile_expression(source)
    except InvalidExpressionError as error:
        raise TemplateError(_placed(str(error), source, at)) from None
    return _Placeholder(expression, source, at)


def _placed(reason: str, source: str, at: int) -> str:
    source = source.strip()
    shown = source if len(source) <= _SHOWN else f"{source[:_SHOWN]}…"
    return f"'{{{{ {shown} }}}}' at character {at + 1}: {reason}"
