"""Server-Sent Events: one execution, or many on one connection."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Send

from api.auth.tenancy import TenantScopeDep
from api.dependencies import ServicesDep
from api.schemas.executions import ProblemDetails
from api.streaming.broadcaster import EventBroadcaster
from api.streaming.expiry import has_expired, until
from api.streaming.messages import Message
from database.queries.results import SubscriptionFilter
from engine.errors import ExecutionNotFoundError, InvalidInputsError, Problem
from engine.status import has_ended

RETRY_MS = 2_000
"""After how long a browser that was cut off connects again."""
MAX_IDS = 500
MAX_POSITION = 2**63 - 1
PING = b": ping\n\n"

router = APIRouter(prefix="/api", tags=["live"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
LastEventIdInQuery = Annotated[
    int | None,
    Query(
        alias="lastEventId",
        ge=0,
        le=MAX_POSITION,
        description="As the header, for clients that cannot set one.",
    ),
]


class EventStream(StreamingResponse):
    """Messages as they come, and a sign of life where none do."""

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
        """Sends it; what it reads from is closed at once when the client is gone."""
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
    status_code=200,  # else the description of the interface looks for it in EventStream
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "All is over and known: connect no more"},
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
    """What happens in one execution: first how it stands, then each change, until it has ended.

    With the id of the last event that the client got: only what came after it.
    """
    known = _known(last_event_id, last_event_id_in_query, after_seq)
    execution = await services.database.queries.execution(execution_id)
    after = None
    if known is not None:
        if has_ended(execution.status) and known == execution.seq > 0:
            return Response(status_code=204)
        after = await services.hub.resume_at(execution_id, known)
    interest = SubscriptionFilter(frozenset({execution_id}))
    clock = services.database.clock
    messages = until(lambda: has_expired(scope.caller, clock), services.hub.follow(interest, after))
    return EventStream(messages, lambda message: message.seq)


@router.get(
    "/events",
    operation_id="streamEvents",
    response_class=EventStream,
    status_code=200,  # else the description of the interface looks for it in EventStream
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "Those named are over and known: connect no more"},
        404: {"model": ProblemDetails},
        422: {"model": ProblemDetails},
    },
)
async def stream_events(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: Annotated[str | None, Query(alias="organizationId", min_length=1)] = None,
    execution_ids: Annotated[
        str | None, Query(alias="executionIds", description="Separated by commas.")
    ] = None,
    last_event_id: LastEventId = None,
    last_event_id_in_query: LastEventIdInQuery = None,
) -> Response:
    """What happens in many executions: those named, an organization's, or without either all.

    First how those stand that have not ended (of the named: each), then every change. With the id
    of the last event that the client got: only what came after it.
    """
    organization_id = scope.organization(organization_id)
    ids = None
    if execution_ids is not None:
        ids = frozenset(part.strip() for part in execution_ids.split(",") if part.strip())
        if not ids or len(ids) > MAX_IDS:
            detail = f"executionIds should name 1 to {MAX_IDS} executions, not {len(ids)}"
            raise InvalidInputsError([Problem("invalid_query", detail, "")])
        for execution_id in sorted(ids):
            await scope.see_execution(execution_id)
            execution = await services.database.queries.execution(execution_id)
            if not SubscriptionFilter(ids, organization_id).matches(
                execution_id, execution.organization_id
            ):
                raise ExecutionNotFoundError(execution_id)
    after = await _kept(services.hub, _known(last_event_id, last_event_id_in_query, None))
    if ids and after is not None and await services.hub.is_all_known(ids, after):
        return Response(status_code=204)
    interest = SubscriptionFilter(ids, organization_id)
    return EventStream(services.hub.follow(interest, after), lambda message: message.position)


def _known(header: str | None, query: int | None, after_seq: int | None) -> int | None:
    """What the client says it has; a header that is none of ours says nothing."""
    if header is not None and header.isascii() and header.isdigit():
        return int(header) if len(header) < len(str(MAX_POSITION)) else MAX_POSITION
    return after_seq if query is None else query


async def _kept(hub: EventBroadcaster, position: int | None) -> int | None:
    """A position of this journal; ``None`` for one that is of another."""
    if position is None or position > await hub.position():
        return None
    return position
