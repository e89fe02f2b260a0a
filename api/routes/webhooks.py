"""Webhook routes: requests from other programs that start an execution."""

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
from api.routes.base import STORAGE_ERROR_STATUSES
from api.schemas.base import ProblemDetails
from database.queries.results import SubscriptionFilter
from engine.errors import ExecutionNotFoundError
from engine.json_values import JsonValue
from engine.response_headers import is_permitted
from engine.status import ExecutionStatus, NodeStatus
from flows.encoding import encode_off_loop
from flows.intake.webhooks import REPLY, RESPONSE, WebhookIntake, WebhookRequest

METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
"""Accepted methods. Each is a separate operation of the OpenAPI document."""
_WITH_BODY = ("POST", "PUT", "PATCH")
_STATUSES_WITHOUT_ERROR = {
    ExecutionStatus.PENDING,
    ExecutionStatus.RUNNING,
    ExecutionStatus.WAITING,
    ExecutionStatus.COMPLETED,
}
"""Statuses of an execution that may still respond, or that completed without a response."""
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
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Accepted; or the response of a response node, whose status may differ",
        "content": {"application/json": {"schema": {}}, "*/*": {"schema": {}}},
    },
    202: {
        "description": "Accepted; no response node has completed yet",
        "content": {"application/json": {"schema": _ACCEPTED}},
    },
    **{
        status: {"model": ProblemDetails}
        for status in (401, 404, 408, 413, 415, 422, 429, 500, *STORAGE_ERROR_STATUSES)
    },
}

_BODY: dict[str, Any] = {
    "description": "Any body; the fields of a JSON object become the payload of the node.",
    "content": {
        "application/json": {"schema": {}, "example": {"id": 7}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object"}, "example": {"id": "7"}},
        "text/plain": {"schema": {"type": "string"}, "example": "Order 7 is there."},
    },
}

router = APIRouter(prefix="/api/webhook", tags=["webhooks"])


async def receive(workflow_id: str, request: Request, services: ServicesDep) -> Response:
    """Start an execution at the webhook node without a token."""
    return await _receive(request, services, workflow_id, None)


async def receive_with_token(
    workflow_id: str, token: str, request: Request, services: ServicesDep
) -> Response:
    """Start an execution at the webhook node with this token."""
    return await _receive(request, services, workflow_id, token)


for path, endpoint, name in (
    ("/{workflow_id}", receive, "receiveWebhook"),
    ("/{workflow_id}/{token}", receive_with_token, "receiveWebhookWithToken"),
):
    for method in METHODS:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            operation_id=name if method == "POST" else f"{name}By{method.title()}",
            responses=_RESPONSES,
            openapi_extra={"requestBody": _BODY} if method in _WITH_BODY else None,
        )


async def _receive(
    request: Request, services: Services, workflow_id: str, token: str | None
) -> Response:
    message = await read_message(request, services.webhook_limits)
    intake = WebhookIntake(services.database, services.submissions, services.worker.secrets)
    webhook = WebhookRequest(workflow_id, token, message.headers, message.body, message.received)
    receipt = await intake.deliver(webhook)
    accepted = {"success": True, "executionId": receipt.execution_id}
    if not receipt.is_answered_by_node:
        return JSONResponse(accepted)
    node_response = await _response_in_time(services, receipt.execution_id)
    if node_response is not None:
        return await _to_http(node_response)
    try:
        status = (await services.database.queries.execution(receipt.execution_id)).status
    except ExecutionNotFoundError:
        status = None
    if status not in _STATUSES_WITHOUT_ERROR:
        return _failed_without_response(receipt.execution_id, status)
    return JSONResponse({**accepted, "status": status}, HTTPStatus.ACCEPTED)


def _failed_without_response(execution_id: str, status: str | None) -> Response:
    """Return the error for an execution that failed before its response node.

    It does not contain the reason, which only callers with access to the execution may read.
    """
    ended = "was deleted" if status is None else f"ended as '{status}'"
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"The execution '{execution_id}' {ended} before it had a response",
        success=False,
        executionId=execution_id,
        executionStatus=status,
    )


async def _response_in_time(services: Services, execution_id: str) -> Mapping[str, Any] | None:
    """Return the response of a response node; ``None`` if there is none within the timeout."""
    try:
        async with asyncio.timeout(services.webhook_response_timeout_seconds):
            await _wait_for_response_node(services, execution_id)
            detail = await services.database.webhook_responses.first(execution_id, RESPONSE)
    except (TimeoutError, ExecutionNotFoundError):
        return None
    return None if detail is None else detail.get(REPLY)


async def _wait_for_response_node(services: Services, execution_id: str) -> None:
    """Wait until a response node has completed, the execution has ended, or the service stops.

    It reads the journal, because another process may run the execution.
    """
    selection = SubscriptionFilter(frozenset({execution_id}))
    async with aclosing(services.broadcaster.subscribe(selection)) as messages:
        async for message in messages:
            if message is not None and _has_response_node(message.body):
                return


def _has_response_node(body: Mapping[str, JsonValue]) -> bool:
    logs = cast("list[Mapping[str, JsonValue]]", body.get("logs") or [])
    return any(
        log["nodeType"] == RESPONSE and log["status"] == NodeStatus.COMPLETED for log in logs
    )


async def _to_http(node_response: Mapping[str, Any]) -> Response:
    """Return the HTTP response of a response node: JSON, or a string unchanged.

    It is sandboxed, because it has the origin of the HTTP interface and of its pages.
    """
    status: int = node_response["status"]
    body: JsonValue = node_response["body"]
    is_text = isinstance(body, str)
    content = b""
    if status not in _WITHOUT_BODY:
        content = (body if is_text else await encode_off_loop(body)).encode()
    response = Response(content, status)
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in node_response["headers"]
        if is_permitted(name)
    ]
    headers.append((b"content-security-policy", b"sandbox"))
    if content and not any(name == b"content-type" for name, _ in headers):
        media_type = "text/plain; charset=utf-8" if is_text else "application/json"
        headers.append((b"content-type", media_type.encode()))
    response.raw_headers.extend(headers)
    return response
