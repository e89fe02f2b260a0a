"""Schema base: base classes and types of request and response bodies.

A request with an unknown field is rejected, and the error names the nearest field.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StrictStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MAX_UNKNOWN_FIELDS = 100
"""Maximum number of unknown fields that an error names."""
MAX_NAME_CHARACTERS = 100
"""Maximum length of an unknown name in an error, in characters."""
MAX_COMPARED_CHARACTERS = 60
"""Maximum length of a name that is compared with the known names."""
MIN_LIKENESS = 0.6
"""Minimum similarity of a known name that is suggested."""

_CONTROL_CHARACTER = re.compile(r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]")


def without_nul(text: str | None) -> str | None:
    """Return a string without a NUL character.

    Raises:
        ValueError: If it has one, because PostgreSQL does not store it.
    """
    if text is not None and "\0" in text:
        raise ValueError("has a NUL character, which not every database stores")
    return text


def without_control_characters(text: str) -> str:
    """Return an id or a name of one line.

    Raises:
        ValueError: If it has a control character or a line break.
    """
    match = _CONTROL_CHARACTER.search(text)
    if match is not None:
        raise ValueError(
            f"has the character U+{ord(match[0]):04X} at position {match.start()}; "
            "control characters and line breaks are not accepted"
        )
    return text


# The patterns are for the OpenAPI document, because the errors of the validators are clearer.
WITHOUT_NUL = r"^[^\u0000]*$"
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
Name = Annotated[
    StrictStr,
    Field(min_length=1, max_length=500, json_schema_extra={"pattern": ONE_LINE}),
    AfterValidator(without_control_characters),
]


class ApiModel(BaseModel):
    """A body with camelCase names in JSON. Responses can be validated from rows."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)

    @classmethod
    def of_row(cls, row: "DataclassInstance", **more: Any) -> Self:
        """Return a response with the fields of a row, and the fields ``more``."""
        values: Any = row
        if more:
            values = {field.name: getattr(row, field.name) for field in fields(row)} | more
        return cls.of_fields(values)

    @classmethod
    def of_fields(cls, values: Any) -> Self:
        """Return a response from attributes or keys with the Python names of its fields.

        It is a third faster than ``model_validate``, which first searches the JSON names.
        """
        return cls.model_validate(values, by_alias=False, by_name=True)


def _require_iso_text(value: object) -> object:
    """Reject numbers and their texts, which pydantic reads as seconds since 1970."""
    if not (isinstance(value, str) and re.match(r"\d{4}-", value)):
        raise ValueError("should be a time in ISO 8601 with a time zone")
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far from now") from None


Instant = Annotated[AwareDatetime, BeforeValidator(_require_iso_text), AfterValidator(_to_utc)]
"""A time in UTC; requests have it in ISO 8601 with a time zone."""


class ProblemDetails(ApiModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = Field(default=None, description="The first 100.")
    more_errors: int | None = Field(default=None, description="Number of further errors.")
    unchecked_nodes: int | None = Field(
        default=None, description="Number of nodes that were not checked, after many errors."
    )


class RequestModel(ApiModel):
    """The body of a request, or a message of a WebSocket client."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _reject_unknown_fields(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        body = cast("Mapping[Any, Any]", data)
        known = {field.alias or name: name for name, field in cls.model_fields.items()}
        accepted = known.keys() | known.values()
        unknown = [name for name in body if name not in accepted]
        if not unknown:
            return handler(data)
        errors = [_unknown_field(str(name), known) for name in unknown[:MAX_UNKNOWN_FIELDS]]
        if len(unknown) > MAX_UNKNOWN_FIELDS:
            more = f"{len(unknown) - MAX_UNKNOWN_FIELDS} more unknown fields"
            errors.insert(0, _error("unknown_field", more, ()))
        try:
            handler({name: body[name] for name in body if name in accepted})
        except ValidationError as error:
            others = error.errors(include_url=False, include_context=False)
            errors = [*(_error(e["type"], e["msg"], e["loc"]) for e in others), *errors]
        raise ValidationError.from_exception_data(cls.__name__, errors)


class WorkflowOrGraph(RequestModel):
    """A body that names a saved workflow or contains a document."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["workflowId"],
                    "properties": {"workflowId": {"type": "string"}, "graph": {"type": "null"}},
                },
                {
                    "required": ["graph"],
                    "properties": {"workflowId": {"type": "null"}, "graph": {"type": "object"}},
                },
            ]
        }
    )

    # Before ``workflow_id``, whose validator reads it.
    graph: dict[str, Any] | None = Field(
        default=None, description="A document that is not saved, instead of `workflowId`."
    )
    workflow_id: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _add_workflow_id(cls, data: Any) -> Any:
        # The validator below does not run for a default, so that the key is added.
        if isinstance(data, dict) and "workflow_id" not in data:
            return {"workflowId": None, **cast("dict[str, Any]", data)}
        return cast("Any", data)

    @field_validator("workflow_id")
    @classmethod
    def _require_exactly_one(cls, workflow_id: str | None, info: ValidationInfo) -> str | None:
        if "graph" not in info.data:
            return workflow_id  # it is invalid, and has its own error
        if workflow_id is None and info.data["graph"] is None:
            raise PydanticCustomError("missing", "Field required, or 'graph' instead")
        if workflow_id is not None and info.data["graph"] is not None:
            raise PydanticCustomError(
                "mutually_exclusive", "'workflowId' and 'graph' exclude each other"
            )
        return workflow_id


def nearest(name: str, known: Collection[str], min_likeness: float) -> str | None:
    """Return the most similar known name, ignoring case; ``None`` if no name is similar."""
    if len(name) > MAX_COMPARED_CHARACTERS:
        return None
    by_letters = {_letters(known_name): known_name for known_name in known}
    matches = difflib.get_close_matches(_letters(name), by_letters, 1, min_likeness)
    return by_letters[matches[0]] if matches else None


def suggestion(name: str, known: Collection[str], min_likeness: float) -> str:
    """Return the hint of an error about an unknown name: the nearest name, or all names."""
    match = nearest(name, known, min_likeness)
    if match is not None:
        return f"did you mean '{match}'?"
    return f"accepted are: {', '.join(known)}" if known else "no field is accepted"


def shown(name: str) -> str:
    """Return a name, truncated for an error."""
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}…"


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _unknown_field(name: str, known: Collection[str]) -> InitErrorDetails:
    end = suggestion(name, list(known), MIN_LIKENESS)
    return _error("unknown_field", f"unknown field; {end}", (shown(name),))


def _error(kind: str, message: str, location: tuple[str | int, ...]) -> InitErrorDetails:
    # Without a context, pydantic replaces no placeholders in the message.
    return InitErrorDetails(
        type=PydanticCustomError(cast("Any", kind), cast("Any", message)), loc=location, input=None
    )
