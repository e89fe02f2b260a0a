"""Base classes of bodies. A body field that is not known is rejected, with the nearest name."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

MAX_UNKNOWN_FIELDS = 100
"""Maximum number of unknown fields of a body that are named one by one."""
MAX_NAME_CHARACTERS = 100
"""Maximum length of an unknown name in an error, in characters."""
MAX_COMPARED_CHARACTERS = 60
"""Maximum length of a name that is compared with the known names."""
MIN_LIKENESS = 0.6
"""Similarity from which on a known name is suggested."""


class ApiModel(BaseModel):
    """camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RequestModel(ApiModel):
    """The body of a request, or a message of a WebSocket client."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _reject_unknown_fields(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        fields = cast("Mapping[Any, Any]", data)
        known = {field.alias or name: name for name, field in cls.model_fields.items()}
        accepted = known.keys() | known.values()
        unknown = [name for name in fields if name not in accepted]
        if not unknown:
            return handler(data)
        errors = [_unknown_field(str(name), known) for name in unknown[:MAX_UNKNOWN_FIELDS]]
        if len(unknown) > MAX_UNKNOWN_FIELDS:
            more = f"{len(unknown) - MAX_UNKNOWN_FIELDS} more unknown fields"
            errors.insert(0, _error("unknown_field", more, ()))
        try:
            handler({name: fields[name] for name in fields if name in accepted})
        except ValidationError as error:
            others = error.errors(include_url=False, include_context=False)
            errors = [*(_error(e["type"], e["msg"], e["loc"]) for e in others), *errors]
        raise ValidationError.from_exception_data(cls.__name__, errors)


def nearest(name: str, known: Collection[str], min_likeness: float) -> str | None:
    """Return the known name that ``name`` was probably meant to be; case is not compared."""
    if len(name) > MAX_COMPARED_CHARACTERS:
        return None
    by_letters = {_letters(one): one for one in known}
    found = difflib.get_close_matches(_letters(name), by_letters, 1, min_likeness)
    return by_letters[found[0]] if found else None


def suggestion(name: str, known: Collection[str], min_likeness: float) -> str:
    """Return the end of an error about an unknown name: the nearest name, or all of them."""
    match = nearest(name, known, min_likeness)
    if match is not None:
        return f"did you mean '{match}'?"
    return f"accepted are: {', '.join(known)}" if known else "none is accepted"


def shown(name: str) -> str:
    """Return a name as errors show it: long ones are cut."""
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}…"


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _unknown_field(name: str, known: Collection[str]) -> InitErrorDetails:
    end = suggestion(name, list(known), MIN_LIKENESS)
    return _error("unknown_field", f"unknown field; {end}", (shown(name),))


def _error(kind: str, message: str, location: tuple[str | int, ...]) -> InitErrorDetails:
    # Without a context, pydantic fills no placeholders in.
    return InitErrorDetails(
        type=PydanticCustomError(cast("Any", kind), cast("Any", message)), loc=location, input=None
    )
