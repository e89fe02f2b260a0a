"""WebSocket commands: parses and validates the messages of clients."""

from typing import Annotated, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from api.pagination import MAX_POSITION
from api.schemas.base import MIN_LIKENESS, Name, RequestModel, suggestion
from engine.json_values import load_json
from engine.problems import MAX_PROBLEMS


class Subscribe(RequestModel):
    """Starts the events of an execution, or of all executions of an organization."""

    type: Literal["subscribe"]
    execution_id: Name | None = None
    organization_id: Name | None = None
    after_seq: int | None = Field(default=None, ge=0, le=MAX_POSITION)


class Unsubscribe(RequestModel):
    """Stops the events of an earlier ``Subscribe``."""

    type: Literal["unsubscribe"]
    execution_id: Name | None = None
    organization_id: Name | None = None


class Auth(RequestModel):
    """Authenticates the client with a key or a token."""

    type: Literal["auth"]
    token: str


class Ping(RequestModel):
    """Requests a ``pong``."""

    type: Literal["ping"]


Command = Subscribe | Unsubscribe | Auth | Ping
_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])
_TYPES = ("subscribe", "unsubscribe", "auth", "ping")


def parse_command(text: str | None) -> Command:
    """Return the command of a message.

    Raises:
        ValueError: If the message is invalid; the message of the error is for the client.
    """
    try:
        value = load_json(text) if text is not None else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("a message should be a JSON object")  # noqa: TRY004 - one error for all
    fields = cast("dict[str, object]", value)
    try:
        return _COMMAND.validate_python(fields)
    except ValidationError as error:
        raise ValueError(_detail(str(fields.get("type")), error)) from None


def _detail(type_: str, error: ValidationError) -> str:
    if type_ not in _TYPES:
        hint = suggestion(type_, _TYPES, MIN_LIKENESS)
        end = f"; {hint}" if "did you mean" in hint else ""
        return f"the type of a message should be one of {', '.join(_TYPES)}{end}"
    errors = error.errors(include_url=False)[:MAX_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in errors)
