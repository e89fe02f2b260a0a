"""Webhooks: addresses at which a call from outside starts an execution."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.bodies.webhook_payload import read_message
from api.dependencies import Services, ServicesDep
from api.errors import problem
from api.openapi.document import STORAGE_ERROR_STATUSES
from api.schemas.executions import ProblemDetails
from database.queries.results import SubscriptionFilter
from engine.errors import ExecutionNotFoundError
from engine.json_values import JsonValue
from engine.response_headers import is_permitted
from engine.status import ExecutionStatus, NodeStatus
from flows.intake.encoding import encode_off_loop
from flows.intake.webhooks import REPLY, RESPONSE, WebhookIntake, WebhookRequest

METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
"""Deliveries alike. Each is an operation of its own in the interface's description."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_STATUSES_WITHOUT_ERROR = {
    ExecutionStatus.PENDING,
    ExecutionStatus.RUNNING,
    ExecutionStatus.WAITING,
    ExecutionStatus.COMPLETED,
}
"""Statuses of an execution that may still respond, or that ended well without a response."""
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
        "description": "Accepted; no response node has completed so far",
        "content": {"application/json": {"schema": _ACCEPTED}},
    },
    **{
        status: {"model": ProblemDetails}
        for status in (401, 404, 408, 413, 415, 422, 429, 500, *STORAGE_ERROR_STATUSES)
    },
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


async def receive(workflow_id: str, request: Request, services: ServicesDep) -> Response:
    """Fires the workflow's webhook node that has no token."""
    return await _receive(request, services, workflow_id, None)


async def receive_with_token(
    workflow_id: str, token: str, request: Request, services: ServicesDep
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
    message = await read_message(request, services.webhook_limits)
    deliveries = WebhookIntake(services.database, services.submissions, services.worker.secrets)
    delivery = WebhookRequest(workflow_id, token, message.headers, message.body, message.received)
    delivered = await deliveries.deliver(delivery)
    accepted = {"success": True, "executionId": delivered.execution_id}
    if not delivered.is_answered_by_node:
        return JSONResponse(accepted)
    reply = await _reply_in_time(services, delivered.execution_id)
    if reply is not None:
        return await _as_response(reply)
    statuses = await services.database.event_feed.statuses({delivered.execution_id})
    status = statuses.get(delivered.execution_id)
    if status not in _STATUSES_WITHOUT_ERROR:
        return _without_response(delivered.execution_id, status)
    return JSONResponse({**accepted, "status": status}, HTTPStatus.ACCEPTED)


def _without_response(execution_id: str, status: str | None) -> Response:
    """Return the error for an execution that ended badly before its response node.

    The reason is for the people who may read the execution, not for the caller.
    """
    ended = "was deleted" if status is None else f"ended as '{status}'"
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"The execution '{execution_id}' {ended} before it had a response",
        success=False,
        executionId=execution_id,
        executionStatus=status,
    )


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
    interest = SubscriptionFilter(frozenset({execution_id}))
    async with aclosing(services.hub.follow(interest)) as messages:
        async for message in messages:
            if message is not None and _tells_of_reply(message.body):
                detail = await services.database.webhook_responses.first(execution_id, RESPONSE)
                return None if detail is None else detail.get(REPLY)
    # A client that falls behind gets a summary, which need not contain every node.
    detail = await services.database.webhook_responses.first(execution_id, RESPONSE)
    return None if detail is None else detail.get(REPLY)


def _tells_of_reply(body: Mapping[str, JsonValue]) -> bool:
    logs = cast("list[Mapping[str, JsonValue]]", body.get("logs") or [])
    return any(
        log["nodeType"] == RESPONSE and log["status"] == NodeStatus.COMPLETED for log in logs
    )


async def _as_response(reply: Mapping[str, Any]) -> Response:
    """Return the response that a node decided: JSON, or a text as it is.

    It is sandboxed, because it has the origin of the API and of its pages.
    """
    status: int = reply["status"]
    body: JsonValue = reply["body"]
    is_text = isinstance(body, str)
    content = b""
    if status not in _WITHOUT_BODY:
        content = (body if is_text else await encode_off_loop(body)).encode()
    response = Response(content, status)
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in reply["headers"]
        if is_permitted(name)
    ]
    headers.append((b"content-security-policy", b"sandbox"))
    if content and not any(name == b"content-type" for name, _ in headers):
        media_type = "text/plain; charset=utf-8" if is_text else "application/json"
        headers.append((b"content-type", media_type.encode()))
    response.raw_headers.extend(headers)
    return response
