"""Webhooks: addresses at which a call from outside starts an execution."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.interface import STORAGE
from api.schemas import ProblemView
from api.services import Services, UseServices
from api.webhook_body import headers_of, payload_of, read_body, read_form
from database.records import Interest
from engine.errors import ExecutionNotFoundError
from engine.status import NodeStatus
from engine.values import JsonValue, encode_json
from flows.deliveries import REPLY, RESPONSE, Deliveries, Delivery

METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
"""Deliveries alike. Each is an operation of its own in the interface's description."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_WITHOUT_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED}
_ACCEPTED: dict[str, Any] = {
    "type": "object",
    "required": ["success", "executionId", "status"],
    "properties": {
        "success": {"const": True},
        "executionId": {"type": "string"},
        "status": {"type": ["string", "null"]},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Accepted; or what a response node answers, with a status of its choice",
        "content": {"application/json": {"schema": {}}, "*/*": {"schema": {}}},
    },
    202: {
        "description": "Accepted; the response node did not answer in time",
        "content": {"application/json": {"schema": _ACCEPTED}},
    },
    **{status: {"model": ProblemView} for status in (401, 404, 408, 413, 422, 429, *STORAGE)},
}

_BODY: dict[str, Any] = {
    "description": "Anything; of a JSON object the node gets exactly its fields.",
    "content": {
        "application/json": {"schema": {}, "example": {"id": 7}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object"}, "example": {"id": "7"}},
        "text/plain": {"schema": {"type": "string"}, "example": "Order 7 is there."},
    },
}

router = APIRouter(prefix="/api/webhook", tags=["webhooks"])


async def receive(workflow_id: str, request: Request, services: UseServices) -> Response:
    """Fires the workflow's webhook node that has no token."""
    return await _receive(request, services, workflow_id, None)


async def receive_with_token(
    workflow_id: str, token: str, request: Request, services: UseServices
) -> Response:
    """Fires the workflow's webhook node that has this token."""
    return await _receive(request, services, workflow_id, token)


# ``path``: an id may hold a slash; the token may not.
for path, endpoint, name in (
    ("/{workflow_id}", receive, "receiveWebhook"),
    ("/{workflow_id:path}/{token}", receive_with_token, "receiveWebhookWithToken"),
):
    for method in METHODS:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            operation_id=name if method == "POST" else f"{name}By{method.title()}",
            responses=_ANSWERS,
            openapi_extra={"requestBody": _BODY} if method in _WITH_BODY else None,
        )


async def _receive(
    request: Request, services: Services, workflow_id: str, token: str | None
) -> Response:
    body = await read_body(request)

    async def payload() -> JsonValue:
        return payload_of(request, body, await read_form(request, body))

    deliveries = Deliveries(services.database, services.submissions, services.runner.secrets)
    delivery = Delivery(workflow_id, token, headers_of(request), body, payload)
    delivered = await deliveries.deliver(delivery)
    accepted = {"success": True, "executionId": delivered.execution_id}
    if not delivered.is_answered_by_node:
        return JSONResponse(accepted)
    reply = await _reply_in_time(services, delivered.execution_id)
    if reply is not None:
        return _as_response(reply)
    statuses = await services.database.news.statuses({delivered.execution_id})
    status = statuses.get(delivered.execution_id)
    return JSONResponse({**accepted, "status": status}, HTTPStatus.ACCEPTED)


async def _reply_in_time(services: Services, execution_id: str) -> Mapping[str, Any] | None:
    try:
        async with asyncio.timeout(services.webhook_response_timeout_seconds):
            return await _reply(services, execution_id)
    except (TimeoutError, ExecutionNotFoundError):
        return None


async def _reply(services: Services, execution_id: str) -> Mapping[str, Any] | None:
    """What a response node decided, once one has; ``None`` when none will, or the service stops.

    Whoever runs the execution, in this process or another: what is followed is the journal.
    """
    interest = Interest(frozenset({execution_id}))
    async with aclosing(services.hub.follow(interest)) as messages:
        async for message in messages:
            if message is not None and _tells_of_reply(message.body):
                detail = await services.database.replies.first(execution_id, RESPONSE)
                return None if detail is None else detail.get(REPLY)
    return None


def _tells_of_reply(body: Mapping[str, JsonValue]) -> bool:
    logs = cast("list[Mapping[str, JsonValue]]", body.get("logs") or [])
    return any(
        log["nodeType"] == RESPONSE and log["status"] == NodeStatus.COMPLETED for log in logs
    )


def _as_response(reply: Mapping[str, Any]) -> Response:
    """The answer of a response node: JSON, or a text as it is."""
    status: int = reply["status"]
    body: JsonValue = reply["body"]
    is_text = isinstance(body, str)
    content = b"" if status in _WITHOUT_BODY else (body if is_text else encode_json(body)).encode()
    response = Response(content, status)
    headers = [(name.lower().encode(), value.encode()) for name, value in reply["headers"]]
    if content and not any(name == b"content-type" for name, _ in headers):
        media_type = "text/plain; charset=utf-8" if is_text else "application/json"
        headers.append((b"content-type", media_type.encode()))
    response.raw_headers.extend(headers)
    return response
