"""Execution states: the responses to polls, and to requests that wait for a change."""

import asyncio
from http import HTTPStatus

from fastapi import Request, Response

from api.auth.callers import Caller
from api.bodies.json_responses import encoded, encoded_model
from api.dependencies import Services
from api.etags import matches_version
from api.preferences import wait_seconds
from api.schemas.executions import ExecuteResponse
from api.schemas.payloads import PAYLOAD_PREVIEW_CHARS
from api.schemas.views import state_json
from database.queries.polls import PolledState, PollRequest
from engine.errors import ExecutionNotFoundError, StorageError
from engine.status import has_ended

RECENT_LOG_COUNT = 10
"""Number of node runs in the response to a poll."""
MAX_WAIT_SEQ_SECONDS = 30
"""Maximum time that a poll waits for a later sequence number, in seconds."""


async def state_response(
    services: Services,
    execution_id: str,
    *,
    with_results: bool = False,
    max_payload: int | None = None,
    if_none_match: list[str] | None = None,
) -> Response:
    """Return the response to a poll; a 304 if the client already has this state.

    Raises:
        ExecutionNotFoundError: If the execution does not exist.
    """
    poll = await services.database.polls.read(
        _poll_request(
            services,
            execution_id,
            if_none_match,
            with_results=with_results,
            max_payload=max_payload,
        )
    )
    # Weak, because another program can change its own columns without a change of the version.
    headers = {"ETag": f'W/"{poll.version}"', "Cache-Control": "no-cache"}
    if poll.state is None:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    response = await _encoded_state(poll.state, with_results=with_results)
    response.headers.update(headers)
    return response


async def started_response(
    request: Request, services: Services, started: ExecuteResponse, prefer: list[str] | None
) -> Response:
    """Return the response to a submission, with the path of the new execution.

    It is the state of the execution if that ends within the time that the client prefers.
    """
    response = await _ended_response(request, services, started.execution_id, prefer)
    response = response or await encoded_model(0, lambda: started)
    response.headers["Location"] = f"/api/executions/{started.execution_id}"
    return response


async def _ended_response(
    request: Request, services: Services, execution_id: str, prefer: list[str] | None
) -> Response | None:
    """Return ``None`` if the execution does not end in time, or its state cannot be read."""
    seconds = wait_seconds(prefer)
    if not seconds:
        return None
    try:
        await wait_for_change(request, services, execution_id, seconds)
        poll = await services.database.polls.read(_poll_request(services, execution_id, None))
    except (ExecutionNotFoundError, StorageError):
        return None  # the execution was accepted, so that an error would be wrong
    if poll.state is None or not has_ended(poll.state.execution.status):
        return None
    response = await _encoded_state(poll.state, with_results=False)
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return response


async def wait_for_change(
    request: Request,
    services: Services,
    execution_id: str,
    seconds: float,
    after_seq: int | None = None,
) -> None:
    """Wait until the execution has ended, or its sequence number is above ``after_seq``.

    Returns after ``seconds`` at the latest, and earlier if the client disconnects, its token
    expires, or the service shuts down.
    """
    caller: Caller = request.scope["caller"]
    if caller.expires_at is not None:
        left = (caller.expires_at - services.database.clock()).total_seconds()
        seconds = max(0.0, min(seconds, left))
    tasks = [
        asyncio.ensure_future(services.broadcaster.wait(execution_id, after_seq, seconds)),
        asyncio.ensure_future(_disconnect(request)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    """Wait until the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _poll_request(
    services: Services,
    execution_id: str,
    if_none_match: list[str] | None,
    *,
    with_results: bool = False,
    max_payload: int | None = None,
) -> PollRequest:
    most = services.max_response_characters
    if max_payload is not None:
        most = min(most, max_payload)
    return PollRequest(
        execution_id,
        services.lease_seconds,
        last=RECENT_LOG_COUNT,
        cut_at=PAYLOAD_PREVIEW_CHARS,
        output_characters=most,
        results_characters=most if with_results else 0,
        is_known=lambda version: matches_version(if_none_match, version),
    )


async def _encoded_state(state: PolledState, *, with_results: bool) -> Response:
    execution = state.execution
    payloads = [payload for log in state.logs for payload in (log.input_data, log.output_data)]
    payloads += [execution.final_output, execution.node_results]
    return await encoded(
        sum(len(payload.text) for payload in payloads if payload is not None),
        lambda: state_json(state, with_results=with_results),
    )
