"""Request bodies as strict JSON: no ``NaN``, no endless nesting, no lone surrogates."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from engine.values import JsonValue, load_json


class StrictRequest(Request):
    """A request whose JSON body is read as RFC 8259 has it."""

    async def json(self) -> JsonValue:
        """The body's value.

        Raises:
            json.JSONDecodeError: it is no JSON; FastAPI answers that with a 422.
        """
        body = await self.body()
        try:
            return load_json(body)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise json.JSONDecodeError(str(error), body[:80].decode(errors="replace"), 0) from None


class StrictRoute(APIRoute):
    """A route that reads its body through ``StrictRequest``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, given the stricter request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict
