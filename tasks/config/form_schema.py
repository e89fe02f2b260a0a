"""Form schema: checks the JSON Schema of a form, and answers against it.

A schema cannot make the service read addresses or compute for a long time: references lead to the
schema itself and never in a circle, and the time for an answer is at most proportional to its size
and to that of the form, whose product is limited.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import SchemaError as PatternError

from engine.document import escape_pointer
from engine.errors import Problem
from engine.json_encoding import size_within
from engine.json_values import JsonValue, encode_json, is_list, is_object, load_json
from engine.problems import MAX_PROBLEMS
from offload import count_read
from tasks.config.form_keywords import KEYWORDS, pattern_matcher

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MAX_FORM_CHARS = 100_000
"""Maximum length of a form as JSON, in characters."""
MAX_FORM_PARTS = 5_000
"""Maximum number of parts of a form, where each reference counts as the parts it refers to."""
MAX_FORM_DEPTH = 50
"""Maximum number of nested parts of a form."""
MAX_ANSWER_CHECKS = 500_000
"""Maximum number of values of an answer times the number of parts of its form: each value may have
to be checked against each part, and a check takes some microseconds."""
MAX_ANSWER_CHARS = 100_000_000
"""Maximum number of characters of an answer times the number of parts of its form: the reason of
each failed check contains the value."""
FORMATS = ("date", "date-time", "time", "email", "ipv4", "ipv6", "uuid")
"""Values of ``format`` that are checked; others are only hints for the page."""
FORM_COST = 16
"""Cost of checking a character of a form; 4,096 characters take up to 15 milliseconds."""
MAX_SHOWN_CHARS = 200
"""Maximum length of the reason of an error, in characters, because it contains the value."""

_UNSUPPORTED = (
    *("$id", "$anchor", "$dynamicRef", "$recursiveRef"),
    "patternProperties",  # its patterns would be matched with backtracking
    *("unevaluatedItems", "unevaluatedProperties"),  # each level checks all levels below it twice
)
_NAMED_PARTS = ("properties", "definitions", "$defs", "dependencies", "dependentSchemas")
"""Keywords whose values are objects of parts by name."""
_VALUES = ("const", "enum", "default", "examples")
"""Keywords whose values are data and not schemas."""
_LISTS_OF_NAMES = ("type", "required")
"""Keywords that list strings. jsonschema compares each pair of other items."""


def form_error(form: Mapping[str, Any]) -> str | None:
    """Return why a JSON Schema cannot be used as a form; ``None`` if it can.

    Raises:
        InlineLimitError: If the form is too large for the event loop; see ``offload.run_counted``.
    """
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - only forms need the library

    try:
        text = encode_json(dict(form))
    except ValueError as error:
        return f"is not valid JSON: {error}"
    if len(text) > MAX_FORM_CHARS:
        return f"should have at most {MAX_FORM_CHARS:,} characters as JSON"
    count_read(FORM_COST * len(text))
    if form.get("type", "object") != "object":
        return "should describe an object: its 'type' should be 'object'"
    try:
        for part in _parts(form, form):
            if reason := _unsupported(part, is_root=part is form):
                return reason
        form_class = _validator_class(form)
        for schema in (form, *_targets(form)):
            cast("Any", form_class).check_schema(_outline(schema))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        return f"is not a valid JSON Schema: {'at ' + where + ': ' if where else ''}{_short(error)}"
    except ValueError as error:
        return str(error)
    return None


def answer_problems(form: str, data: Mapping[str, JsonValue]) -> list[Problem]:
    """Return why ``data`` does not match a form, which is JSON; the pointers start at ``/data``.

    Takes up to some seconds for a large answer.
    """
    parts = _size(form)
    if (
        _count_values(data, MAX_ANSWER_CHECKS // parts) is None
        or size_within(data, MAX_ANSWER_CHARS // parts) is None
    ):
        detail = (
            f"data is too large for this form of {parts:,} parts: it should have at most"
            f" {MAX_ANSWER_CHECKS // parts:,} values and {MAX_ANSWER_CHARS // parts:,} characters"
        )
        return [Problem("invalid_answer", detail, "/data")]
    problems: dict[tuple[str, str], Problem] = {}
    # One more than is shown, so that the caller knows that there are more.
    for error in islice(_validator(form).iter_errors(dict(data)), MAX_PROBLEMS + 1):
        for pointer, detail in _places(error):
            problems.setdefault((pointer, detail), Problem("invalid_answer", detail, pointer))
    return list(problems.values())


def _count_values(value: object, most: int) -> int | None:
    """Return the number of values within ``value``; ``None`` if there are more than ``most``."""
    count = 1
    pending = [value]
    while pending:
        item = pending.pop()
        children = list(item.values()) if is_object(item) else item if is_list(item) else ()
        count += len(children)
        if count > most:
            return None
        pending.extend(children)
    return count


def _places(error: "ValidationError") -> Iterator[tuple[str, str]]:
    """Yield the pointer and the reason of an error; a missing field has its own pointer."""
    base = "/data" + "".join(f"/{escape_pointer(str(step))}" for step in error.absolute_path)
    if error.validator == "required" and is_object(error.instance):
        for name in cast("list[str]", error.validator_value):
            if name not in error.instance:
                yield f"{base}/{escape_pointer(name)}", f"'{name}' is required"
        return
    yield base, f"{base[1:].replace('/', '.')}: {_short(error)}"


def _short(error: Any) -> str:
    message = str(error.message)
    return message if len(message) <= MAX_SHOWN_CHARS else f"{message[:MAX_SHOWN_CHARS]}…"


def _parts(form: JsonValue, part: JsonValue, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield all objects of a form, and those that its references lead to.

    Raises:
        ValueError: If there are too many, or a reference leads to nothing.
    """
    count = 0
    pending: list[tuple[JsonValue, int]] = [(part, depth)]
    while pending:
        value, depth = pending.pop()
        count += 1
        if count > MAX_FORM_PARTS or depth > MAX_FORM_DEPTH:
            raise ValueError("has too many or too deeply nested parts, or a circle of references")
        if is_list(value):
            pending.extend((item, depth + 1) for item in value)
        elif is_object(value):
            yield value
            if isinstance(reference := value.get("$ref"), str):
                pending.append((_target(form, reference), depth + 1))
            for keyword, item in value.items():
                if keyword in _NAMED_PARTS and is_object(item):
                    pending.extend((named, depth + 1) for named in item.values())
                elif keyword not in _VALUES:
                    pending.append((item, depth + 1))


def _targets(form: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the objects that the references of a form lead to.

    Drafts do not check parts in places that they do not know, such as ``$defs`` in draft-07.
    """
    found: dict[int, Mapping[str, Any]] = {}
    for part in _parts(form, form):
        if isinstance(reference := part.get("$ref"), str):
            target = _target(form, reference)
            if is_object(target):
                found[id(target)] = target
    return list(found.values())


def _target(form: JsonValue, reference: str) -> JsonValue:
    if reference != "#" and not reference.startswith("#/"):
        raise ValueError(f"refers to '{reference}'; references should start with '#/'")
    value = form
    for step in reference[2:].split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if not is_object(value) or name not in value:
            raise ValueError(f"refers to '{reference}', which does not exist")
        value = value[name]
    if not is_object(value) and not isinstance(value, bool):
        raise ValueError(f"refers to '{reference}', which is not a schema")
    return value


def _unsupported(part: Mapping[str, Any], *, is_root: bool) -> str | None:
    for keyword in _UNSUPPORTED:
        if keyword in part:
            return f"has the keyword '{keyword}', which forms do not support"
    if "$schema" in part and not is_root:
        return "has a part with a '$schema'; only the form itself may have one"
    lists = [(keyword, part.get(keyword)) for keyword in _LISTS_OF_NAMES]
    for keyword in ("dependencies", "dependentRequired"):
        if is_object(names := part.get(keyword)):
            lists += [(keyword, value) for value in names.values()]
    for keyword, value in lists:
        if is_list(value) and not all(isinstance(name, str) for name in value):
            return f"has the keyword '{keyword}' with an item that is not a string"
    pattern = part.get("pattern")
    if isinstance(pattern, str):
        try:
            pattern_matcher(pattern)
        except PatternError:
            return f"has the pattern '{pattern}', which is invalid or has look-around"
    return None


@functools.lru_cache(64)
def _size(form: str) -> int:
    """Return the number of parts of a form, with the values that it lists."""
    schema = load_json(form)
    size = 0
    for part in _parts(schema, schema):
        size += 1 + len(part)
        for keyword in _VALUES[:2]:
            if keyword in part:
                size += _count_values(part[keyword], MAX_FORM_CHARS) or MAX_FORM_CHARS
    return size


@functools.lru_cache(64)
def _validator(form: str) -> "Validator":
    from jsonschema import FormatChecker  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415 - as above

    schema = load_json(form)
    form_class = cast("Any", _validator_class(schema))
    # jsonschema would check a part that names its draft with its own keywords instead of ours.
    schema.pop("$schema", None)
    # An empty registry, because the default one fetches references from the network.
    registry = cast("Any", Registry)()
    return form_class(schema, registry=registry, format_checker=FormatChecker(FORMATS))


def _validator_class(form: Mapping[str, Any]) -> "type[Validator]":
    from jsonschema import Draft3Validator, Draft7Validator, validators  # noqa: PLC0415 - as above

    found: Any = Draft7Validator
    if "$schema" in form:
        if isinstance(form["$schema"], str):
            known: Callable[..., Any] = validators.validator_for
            found = known(form, default=None)
        else:
            found = None
        if found is None or found is Draft3Validator:
            raise ValueError(f"has an unknown '$schema': '{form['$schema']}'")
    return cast("Any", validators).extend(found, KEYWORDS)


def _outline(part: Any) -> Any:
    """Return a form with one value of each ``enum``.

    The schemas of older drafts require different values, and jsonschema compares each pair.
    """
    if is_list(part):
        return [_outline(item) for item in part]
    if not is_object(part):
        return part
    outline: dict[str, Any] = {}
    for keyword, value in part.items():
        if keyword in _NAMED_PARTS and is_object(value):
            outline[keyword] = {name: _outline(named) for name, named in value.items()}
        elif keyword == "enum" and is_list(value):
            outline[keyword] = value[:1]
        else:
            outline[keyword] = value if keyword in _VALUES else _outline(value)
    return outline
