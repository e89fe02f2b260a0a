"""JSON request bodies: reads them strictly, and off the event loop when they are large.

Strict JSON has no ``NaN``, limited nesting and a limited number of values. Parsing and validating a
body of 10 MB takes seconds, in which the event loop would serve no other client.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from api.bodies.text import charset_of, decompressed, is_json_type, media_type_of
from charsets import parameter_of
from engine.json_pieces import has_more_values, load_json_in_pieces
from engine.json_values import JsonValue
from engine.request_errors import InvalidBodyError
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop, run_sized

BYTES_SETTING = "MAX_REQUEST_BODY_BYTES"
VALUES_SETTING = "MAX_BODY_VALUES"


class BodyField(Protocol):
    """The body parameter of a route."""

    def validate(
        self, value: Any, values: dict[str, Any] = ..., *, loc: tuple[int | str, ...] = ...
    ) -> tuple[Any, list[dict[str, Any]]]:
        """Return the validated value and no errors, or ``None`` and the errors."""
        ...


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits of request bodies; the composition root sets them."""

    max_bytes: int = 10_485_760
    max_values: int = 1_000_000


class StrictRequest(Request):
    """A request whose JSON body was read by ``StrictRoute``."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._value: JsonValue = None
        self._error: json.JSONDecodeError | None = None

    async def json(self) -> JsonValue:
        """Return the value of the body, or the validated model of a large one.

        Raises:
            json.JSONDecodeError: If the body is not valid JSON; FastAPI makes it a 422.
        """
        if self._error is not None:
            raise self._error
        return self._value

    async def read(self, field: BodyField | None, limits: BodyLimits) -> None:
        """Read the body if it is JSON. Does nothing for a body of another media type.

        ``field`` is the parameter that the body is validated against, if it is a single one.

        Raises:
            InvalidBodyError: If its charset is unknown or wrong, or it has too many values.
            BodyTooLargeError: If it is too large after decompression.
            ContentEncodingError: If its ``Content-Encoding`` is not supported.
            RequestValidationError: If a large body does not match ``field``.
        """
        content_type = self.headers.get("content-type", "")
        media_type = media_type_of(content_type)
        if not is_json_type(media_type) or not media_type.startswith("application/"):
            return
        try:
            body = await self.body()
        except ClientDisconnect:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "The client has disconnected") from None
        encoding = self.headers.get("content-encoding", "")
        body = await run_sized(
            limits.max_bytes if encoding else 0,
            *(decompressed, body, encoding, limits.max_bytes, BYTES_SETTING),
        )
        try:
            self._value = await run_sized(len(body), _parsed, body, content_type, limits)
        except json.JSONDecodeError as error:
            self._error = error
            return
        if field is not None and len(body) > MAX_INLINE_BYTES:
            self._value = await _validated(field, self._value)


class StrictRoute(APIRoute):
    """A route that reads its body through ``StrictRequest``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's own handler, called with the stricter request."""
        handle = super().get_route_handler()
        field = self.body_field
        single = None if field is None or self._embed_body_fields else field

        async def strict(request: Request) -> Response:
            strict_request = StrictRequest(request.scope, request.receive)
            if field is not None:
                limits: BodyLimits = request.app.state.body_limits
                await strict_request.read(single, limits)
            return await handle(strict_request)

        return strict


def _parsed(body: bytes, content_type: str, limits: BodyLimits) -> JsonValue:
    if not body:
        return None
    charset = charset_of(content_type)  # raises for an unknown one
    text = ""
    try:
        # RFC 8259: JSON without a charset is UTF-8.
        is_named = parameter_of(content_type, "charset") is not None
        text = charset.decode(body) if is_named else body.decode("utf-8-sig")
        if has_more_values(text, limits.max_values, check_stop):
            detail = f"the body has more than {limits.max_values} values ({VALUES_SETTING})"
            raise InvalidBodyError("too_many_values", detail)
        return load_json_in_pieces(text, check_stop)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text[:80], 0) from None


async def _validated(field: BodyField, value: JsonValue) -> JsonValue:
    """Return ``value`` as the model of a route; FastAPI takes an instance as it is.

    Raises:
        RequestValidationError: If it does not match; FastAPI itself raises the same.
    """
    model, errors = await run_off_loop(field.validate, value, {}, loc=("body",))
    if errors:
        raise RequestValidationError(cast("Sequence[Any]", errors), body=None)
    return model
