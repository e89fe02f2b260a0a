"""Stream routes: Server-Sent Events of one execution, or of many on one connection."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Send

from api.auth.tenancy import TenantScopeDep
from api.dependencies import ServicesDep
from api.pagination import MAX_POSITION
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.streaming.expiry import has_expired, take_until
from api.streaming.messages import Message
from database.queries.results import SubscriptionFilter
from engine.errors import ExecutionNotFoundError, InvalidRequestError, Problem
from engine.status import has_ended

RETRY_MS = 2_000
"""Delay before a browser reconnects, in milliseconds."""
MAX_IDS = 500
"""Maximum number of executions in ``executionIds``."""
PING = b": ping\n\n"

router = resource_router("/api", "live")

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The `id` of the last event that was received."),
]
LastEventIdInQuery = Annotated[
    int | None,
    Query(
        alias="lastEventId",
        ge=0,
        le=MAX_POSITION,
        description="As the header, for clients that cannot set it.",
    ),
]


class EventStream(StreamingResponse):
    """A response with the messages of a stream, and pings in between."""

    media_type = "text/event-stream"

    def __init__(
        self,
        messages: AsyncGenerator[Message | None],
        event_id: Callable[[Message], int | None],
        status_code: int = 200,
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self._events = _as_events(messages, event_id)
        super().__init__(self._events, status_code, headers)

    async def stream_response(self, send: Send) -> None:
        """Send the events, and close their source as soon as the client disconnects."""
        async with aclosing(self._events):
            await super().stream_response(send)


async def _as_events(
    messages: AsyncGenerator[Message | None], event_id: Callable[[Message], int | None]
) -> AsyncGenerator[bytes]:
    async with aclosing(messages):
        yield format_sse_event(retry=RETRY_MS)
        async for message in messages:
            yield PING if message is None else message.as_sse(event_id(message))


@router.get(
    "/executions/{execution_id}/stream",
    operation_id="streamExecution",
    response_class=EventStream,
    status_code=200,  # FastAPI would read the default from EventStream
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The client has all events of an ended execution: do not reconnect"},
        404: {"model": ProblemDetails},
    },
)
async def stream_execution(
    execution_id: str,
    services: ServicesDep,
    scope: TenantScopeDep,
    last_event_id: LastEventId = None,
    last_event_id_in_query: LastEventIdInQuery = None,
    after_seq: Annotated[int | None, Query(alias="afterSeq", ge=0, le=MAX_POSITION)] = None,
) -> Response:
    """Stream one execution: its current state, then each change, until it has ended.

    With the id of the last event that the client received, only later events are sent.
    """
    last_seq = _last_id(last_event_id, last_event_id_in_query, after_seq)
    execution = await services.database.queries.execution(execution_id)
    after = None
    if last_seq is not None:
        if has_ended(execution.status) and last_seq == execution.seq > 0:
            return Response(status_code=204)
        after = await services.database.event_feed.position_after(execution_id, last_seq)
    selection = SubscriptionFilter(frozenset({execution_id}))
    clock = services.database.clock
    events = services.broadcaster.subscribe(selection, after)
    messages = take_until(lambda: has_expired(scope.caller, clock), events)
    return EventStream(messages, lambda message: message.seq)


@router.get(
    "/events",
    operation_id="streamEvents",
    response_class=EventStream,
    status_code=200,  # FastAPI would read the default from EventStream
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The client has all events of ended executions: do not reconnect"},
        404: {"model": ProblemDetails},
        422: {"model": ProblemDetails},
    },
)
async def stream_events(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: Annotated[
        str | None,
        Query(alias="organizationId", min_length=1, description="Only its executions."),
    ] = None,
    execution_ids: Annotated[
        str | None, Query(alias="executionIds", description="Separated by commas.")
    ] = None,
    last_event_id: LastEventId = None,
    last_event_id_in_query: LastEventIdInQuery = None,
) -> Response:
    """Stream the executions in ``executionIds``, those of an organization, or all of them.

    First the state of each active execution is sent (or of each in ``executionIds``), then every
    change. With the id of the last event that the client received, only later events are sent.
    """
    organization_id = scope.organization(organization_id)
    ids = None
    if execution_ids is not None:
        ids = frozenset(part.strip() for part in execution_ids.split(",") if part.strip())
        if not ids or len(ids) > MAX_IDS:
            detail = f"executionIds should name 1 to {MAX_IDS} executions, not {len(ids)}"
            raise InvalidRequestError([Problem("invalid_query", detail, "")])
        for execution_id in sorted(ids):
            await scope.require_execution(execution_id)
            execution = await services.database.queries.execution(execution_id)
            if not SubscriptionFilter(ids, organization_id).matches(
                execution_id, execution.organization_id
            ):
                raise ExecutionNotFoundError(execution_id)
    after = _last_id(last_event_id, last_event_id_in_query, None)
    if after is not None and after > await services.database.event_feed.last_position():
        after = None  # it is the position of another journal
    if ids and after is not None and await services.broadcaster.is_complete(ids, after):
        return Response(status_code=204)
    events = services.broadcaster.subscribe(SubscriptionFilter(ids, organization_id), after)
    return EventStream(events, lambda message: message.position)


def _last_id(header: str | None, query: int | None, after_seq: int | None) -> int | None:
    """Return the id of the client's last event; a header that is not a number is ignored."""
    if header is not None and header.isascii() and header.isdigit():
        return int(header) if len(header) < len(str(MAX_POSITION)) else MAX_POSITION
    return after_seq if query is None else query
