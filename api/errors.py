"""Error responses (RFC 9457): maps every error to an HTTP status and a problem document."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, compile_path

from engine.document import escape_pointer
from engine.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    NotReadyError,
    PreconditionFailedError,
    QueueFullError,
    SecretUnavailableError,
    StorageBusyError,
    StorageError,
    StorageFullError,
    TooManyPreviewsError,
    UnknownNodeTypeError,
    UnsupportedValueError,
    WorkflowServiceError,
)
from engine.problems import MAX_PROBLEMS, format_remaining
from engine.request_errors import (
    BodyTooLargeError,
    ContentEncodingError,
    SignatureError,
    TooManyKeptEventsError,
    WebhookSecretUnavailableError,
)

log = structlog.get_logger()

STATUSES: dict[type[WorkflowServiceError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    SignatureError: HTTPStatus.UNAUTHORIZED,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ContentEncodingError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    InvalidRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnsupportedValueError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownNodeTypeError: HTTPStatus.BAD_REQUEST,
    ConflictError: HTTPStatus.CONFLICT,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    QueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyPreviewsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyKeptEventsError: HTTPStatus.TOO_MANY_REQUESTS,
    StorageBusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    StorageError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    SecretUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    WebhookSecretUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Statuses of error classes; the most specific class of an error applies."""

RETRYABLE_STATUSES = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
)
"""Statuses of responses that have ``Retry-After``."""
RETRY_AFTER_SECONDS = "2"
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Headers of every response that does not set them."""


class ProblemResponse(JSONResponse):
    """A response of type ``application/problem+json``."""

    media_type = "application/problem+json"


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> ProblemResponse:
    """Return a response with a problem document ``{type, title, status, detail, …more}``."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return ProblemResponse(body, status_code=status, headers=dict(headers or {}))


def add_error_handlers(app: FastAPI) -> None:
    """Add handlers to ``app`` that respond to every error with a problem document."""
    app.add_exception_handler(WorkflowServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)


def status_of(error: WorkflowServiceError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUSES:
            return STATUSES[ancestor]
    return HTTPStatus.INTERNAL_SERVER_ERROR


async def _on_service_error(_request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, WorkflowServiceError)
    status = status_of(error)
    if isinstance(error, StorageError):
        log.warning("storage_error", reason=str(error))
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in RETRYABLE_STATUSES else None
    if isinstance(error, ContentEncodingError):
        headers = {"Accept-Encoding": "gzip, identity"}  # RFC 9110, section 15.5.16
    if isinstance(
        error, InvalidRequestError | SecretUnavailableError | WebhookSecretUnavailableError
    ):
        problems = [item.as_json() for item in error.problems]
        return problem(status, str(error), headers, errors=problems, **_more(error))
    return problem(status, str(error), headers)


def _more(error: WorkflowServiceError) -> dict[str, int]:
    """Return how many errors are not listed, if there are any."""
    if not isinstance(error, InvalidRequestError) or not (error.more or error.unchecked_nodes):
        return {}
    unchecked = {"uncheckedNodes": error.unchecked_nodes} if error.unchecked_nodes else {}
    return {"moreErrors": error.more, **unchecked}


async def _on_invalid_request(_request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    every: Sequence[dict[str, Any]] = error.errors()
    errors, more = every[:MAX_PROBLEMS], len(every[MAX_PROBLEMS:])
    reasons = [_reason(item) for item in errors]
    problems = [
        {"code": item["type"], "detail": reason, "pointer": _pointer(item["loc"])}
        for item, reason in zip(errors, reasons, strict=True)
    ]
    detail = "; ".join([*reasons, format_remaining(more)] if more else reasons)
    counted: dict[str, Any] = {"moreErrors": more} if more else {}
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=jsonable_encoder(problems), **counted
    )


def _reason(item: dict[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return f"the body is not valid JSON: {item['ctx']['error']}"
    path = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    if path == "body" and item["type"] == "missing":
        return "the body is empty; it must be a JSON object"
    if path == "body" and item["type"] in ("model_attributes_type", "dict_type"):
        return "the body must be a JSON object, sent with 'Content-Type: application/json'"
    return f"{path}: {item['msg']}"


def _pointer(location: Sequence[Any]) -> str:
    if location[0] != "body" or any(isinstance(part, int) for part in location[1:2]):
        return ""  # of a query parameter, or a position in invalid JSON
    return "".join(f"/{escape_pointer(str(part))}" for part in location[1:])


async def _on_http_exception(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(allowed_methods(request.app.routes, request.url.path))
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "There is nothing at this path; '/docs' lists all paths"
    return problem(error.status_code, detail, headers)


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> list[str]:
    """Return the methods for the ``Allow`` header of a 405 (RFC 9110, section 10.2.1).

    They are those of all routes with the template of the first one that matches ``path``. Starlette
    uses the first route only, but here each method of a path is a separate route.
    """
    template: str | None = None
    methods: set[str] = set()
    for route in iter_route_contexts(list(routes)):
        if route.path is None or not route.methods:
            continue
        if template is None and compile_path(route.path)[0].match(path):
            template = route.path
        if route.path == template:
            methods |= route.methods
    return sorted(methods)


async def _on_unexpected(request: Request, error: Exception) -> ProblemResponse:
    # Only errors of the outermost middleware are handled here, so that none adds the headers.
    return unexpected(request.url.path, error, SAFE_HEADERS)


def unexpected(
    path: str, error: Exception, headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """Log an error without a handler, and return its response."""
    log.error("unexpected_error", path=path, exc_info=error)
    detail = "Internal server error; see the service log"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, headers)
