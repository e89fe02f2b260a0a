"""Form schema: checks the JSON Schema of a form, and answers against it.

A schema cannot make the service read addresses or compute for a long time: references lead to the
schema itself and never in a circle, and patterns are matched in linear time.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import ConfigDict, StringConstraints, TypeAdapter
from pydantic_core import SchemaError as PatternError

from engine.document import escape_pointer
from engine.errors import Problem
from engine.json_values import JsonValue, encode_json, is_list, is_object, load_json

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MAX_FORM_CHARS = 100_000
"""Maximum length of a form as JSON, in characters."""
MAX_FORM_PARTS = 5_000
"""Maximum number of parts of a form, where each reference counts as the parts it refers to."""
MAX_FORM_DEPTH = 50
"""Maximum number of nested parts of a form."""
FORMATS = ("date", "date-time", "time", "email", "ipv4", "ipv6", "uuid")
"""Values of ``format`` that are checked; others are only hints for the page."""
MAX_SHOWN_CHARS = 200
"""Maximum length of the reason of an error, in characters, because it contains the value."""

_UNSUPPORTED = ("$id", "$anchor", "$dynamicRef", "$recursiveRef", "patternProperties")
_VALUES = ("const", "enum", "default", "examples")
"""Keywords whose values are data and not schemas."""


def form_error(form: Mapping[str, Any]) -> str | None:
    """Return why a JSON Schema cannot be used as a form; ``None`` if it can."""
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - only forms need the library

    try:
        text = encode_json(dict(form))
    except ValueError as error:
        return f"is not valid JSON: {error}"
    if len(text) > MAX_FORM_CHARS:
        return f"should have at most {MAX_FORM_CHARS:,} characters as JSON"
    if form.get("type", "object") != "object":
        return "should describe an object: its 'type' should be 'object'"
    try:
        for part in _parts(form, form):
            if reason := _unsupported(part):
                return reason
        _validator_class(form).check_schema(dict(form))
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        return f"is not a valid JSON Schema: {'at ' + where + ': ' if where else ''}{_short(error)}"
    except ValueError as error:
        return str(error)
    return None


def answer_problems(form: str, data: Mapping[str, JsonValue]) -> list[Problem]:
    """Return why ``data`` does not match a form, which is JSON; the pointers start at ``/data``."""
    problems: dict[tuple[str, str], Problem] = {}
    for error in _validator(form).iter_errors(dict(data)):
        for pointer, detail in _places(error):
            problems.setdefault((pointer, detail), Problem("invalid_answer", detail, pointer))
    return list(problems.values())


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
            pending.extend((item, depth + 1) for key, item in value.items() if key not in _VALUES)


def _target(form: JsonValue, reference: str) -> JsonValue:
    if reference != "#" and not reference.startswith("#/"):
        raise ValueError(f"refers to '{reference}'; references should start with '#/'")
    value = form
    for step in reference[2:].split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if not is_object(value) or name not in value:
            raise ValueError(f"refers to '{reference}', which does not exist")
        value = value[name]
    return value


def _unsupported(part: Mapping[str, Any]) -> str | None:
    for keyword in _UNSUPPORTED:
        # An object with this name is a property that a form calls so.
        if isinstance(part.get(keyword), str) or (keyword == _UNSUPPORTED[-1] and keyword in part):
            return f"has the keyword '{keyword}', which forms do not support"
    pattern = part.get("pattern")
    if isinstance(pattern, str):
        try:
            _matcher(pattern)
        except PatternError:
            return f"has the pattern '{pattern}', which is invalid or has look-around"
    return None


@functools.lru_cache(256)
def _matcher(pattern: str) -> TypeAdapter[str]:
    """Return a matcher in Rust's engine, whose time is linear in the length of the text."""
    kind = Annotated[str, StringConstraints(pattern=pattern)]
    return TypeAdapter(kind, config=ConfigDict(regex_engine="rust-regex"))


@functools.lru_cache(64)
def _validator(form: str) -> "Validator":
    from jsonschema import FormatChecker  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415 - as above

    schema = load_json(form)
    # An empty registry, because the default one fetches references from the network.
    registry = cast("Any", Registry)()
    return cast("Any", _validator_class(schema))(
        schema, registry=registry, format_checker=FormatChecker(FORMATS)
    )


def _validator_class(form: Mapping[str, Any]) -> "type[Validator]":
    from jsonschema import Draft7Validator, validators  # noqa: PLC0415 - as above

    found: Any = Draft7Validator
    if "$schema" in form:
        known: Callable[..., Any] = validators.validator_for
        found = known(form, default=None)
        if found is None:
            raise ValueError(f"has an unknown '$schema': '{form['$schema']}'")
    return cast("Any", validators).extend(found, {"pattern": _check_pattern})


def _check_pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> "Iterator[ValidationError]":
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 - as above
    from pydantic import ValidationError as Mismatch  # noqa: PLC0415 - its name is used above

    if isinstance(instance, str):
        try:
            _matcher(pattern).validate_python(instance)
        except Mismatch:
            yield ValidationError(f"{instance!r} does not match {pattern!r}")
