"""Templates: ``{{ field }}`` and ``{{ a.b.0.c }}`` over a node's input, in any text of a config."""

import re
from collections.abc import Mapping
from typing import cast

from engine.errors import TemplateError
from engine.values import JsonValue, Missing, as_text, kind_of, lookup

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_ALONE = re.compile(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", re.DOTALL)

WHOLE_INPUT = "input"
"""``{{ input }}`` is the whole input, unless the input has a field of that name."""


def render(template: JsonValue, data: JsonValue) -> JsonValue:
    """``template`` with every placeholder in every text of it filled from ``data``.

    A text that is nothing but one placeholder keeps the value's type; elsewhere a value that is no
    text stands as JSON. Objects and lists are walked; object keys are filled too.

    Raises:
        TemplateError: the input has no such field, or a placeholder is empty.
    """
    if isinstance(template, str):
        return _render_text(template, data)
    if isinstance(template, Mapping):
        fields = cast("Mapping[str, JsonValue]", template)
        return {as_text(_render_text(k, data)): render(v, data) for k, v in fields.items()}
    if isinstance(template, list):
        return [render(item, data) for item in cast("list[JsonValue]", template)]
    return template


def render_text(template: str, data: JsonValue) -> str:
    """As ``render``, but always a text."""
    return as_text(_render_text(template, data))


def _render_text(template: str, data: JsonValue) -> JsonValue:
    if "{{" not in template:
        return template
    if alone := _ALONE.fullmatch(template):
        return _resolve(alone[1], data)
    end = template.rfind("}}") + 2  # past it no "{{" is closed, and looking for that is quadratic
    filled = _PLACEHOLDER.sub(lambda found: as_text(_resolve(found[1], data)), template[:end])
    return filled + template[end:]


def _resolve(expression: str, data: JsonValue) -> JsonValue:
    path = expression.strip()
    if not path:
        raise TemplateError("the placeholder '{{ }}' names no field")
    found = lookup(data, path)
    if not isinstance(found, Missing):
        return found
    head, _, rest = path.partition(".")
    if head == WHOLE_INPUT:
        found = lookup(data, rest) if rest else data
        if not isinstance(found, Missing):
            return found
    if isinstance(data, Mapping):
        names = ", ".join(sorted(cast("Mapping[str, JsonValue]", data))[:20]) or "no fields"
        raise TemplateError(f"the input has no field '{path}' (it has: {names})")
    raise TemplateError(f"the input has no field '{path}' (it is of type {kind_of(data)})")
