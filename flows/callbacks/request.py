"""The request that tells a receiver how an execution ended: address, body, signature, answer.

Signed after Standard Webhooks (https://www.standardwebhooks.com): the receiver checks it with the
library of that name in its own language.
"""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus

import httpx2
import structlog
from standardwebhooks import Webhook

from database.executions.callbacks import AttemptFailure, CallbackAttempt
from database.queries.results import Execution
from database.records import Payload
from engine.errors import NodeError, describe
from engine.json_values import JsonValue, load_json
from engine.status import ExecutionStatus, end_event_type
from tasks.context import HandlerSettings
from tasks.http.client import describe_error, new_client, parse_retry_after, parse_url
from version import VERSION

log = structlog.get_logger()

USER_AGENT = f"Workflow-Orchestration-Service/{VERSION}"
MAX_OUTPUT_CHARS = 256 * 1024
"""Characters of ``finalOutput``'s JSON that a callback carries; the polling answer has it whole."""

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class CallbackResponse:
    """What the receiver answered to one attempt, or why there is no answer."""

    status: int | None = None
    failure: AttemptFailure | None = None
    retry_after: float | None = None
    """Seconds that the receiver asked to be left alone for."""


def check_callback_url(text: str) -> str:
    """``text``, if it is an address that can be called back.

    Raises:
        ValueError: it is none; the message says why.
    """
    if _CONTROL.search(text):
        raise ValueError("it has a space or a control character in it")
    url = parse_url(text)
    if url.userinfo:
        raise ValueError(
            "should hold no user name and no password; sign with CALLBACK_SIGNING_SECRET"
        )
    return text


def body_of(execution: Execution, workflow_name: str) -> str:
    """The JSON text of a callback: the same for every attempt."""
    progress = execution.progress
    completed = execution.status == ExecutionStatus.COMPLETED
    return json.dumps(
        {
            "type": end_event_type(execution.status, execution.error),
            "executionId": execution.id,
            "workflowId": execution.workflow_id,
            "workflowName": workflow_name,
            "organizationId": execution.organization_id,
            "status": execution.status,
            "progress": {
                "totalNodes": progress.total,
                "completedNodes": progress.completed,
                "failedNodes": progress.failed,
                "skippedNodes": progress.skipped,
                "percentage": progress.percentage(finished=completed),
            },
            "error": execution.error,
            "createdAt": execution.created_at,
            "startedAt": execution.started_at,
            "completedAt": execution.completed_at,
            "finalOutput": _output(execution.final_output),
        },
        separators=(",", ":"),
    )


def _output(output: Payload | None) -> JsonValue:
    if output is None:
        return None
    if output.cut:
        return {"truncated": True, "size": output.size, "preview": output.text}
    try:
        return load_json(output.text)
    except ValueError:
        return output.text  # another program changed it


def headers_of(
    delivery: CallbackAttempt, body: str, secret: str | None, now: datetime
) -> dict[str, str]:
    """The headers of one attempt. ``webhook-id`` is the same for all attempts of a callback."""
    message_id = f"msg_{delivery.execution_id}"
    moment = now.astimezone(UTC).replace(microsecond=0)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(message_id, moment, body)
    return headers


async def send(
    url: str,
    body: str,
    headers: Mapping[str, str],
    timeout_seconds: float,
    now: datetime,
    calls: HandlerSettings,
) -> CallbackResponse:
    """Makes one attempt; whatever goes wrong is an answer. The answer's body is not read."""
    # However long an answer says it is: that the callback was taken is all that counts.
    unread = replace(calls, http_max_response_bytes=sys.maxsize)
    try:
        async with (
            asyncio.timeout(timeout_seconds),  # httpx2 limits each step; a slow head has many
            new_client(unread, timeout_seconds) as client,
            client.stream(
                "POST", url, content=body.encode(), headers=dict(headers), follow_redirects=False
            ) as response,
        ):
            return _judge(response, now)
    except (TimeoutError, httpx2.TimeoutException):
        return CallbackResponse(failure=AttemptFailure(f"no answer within {timeout_seconds:g} s"))
    except NodeError as error:
        # What the client refuses to call: it would refuse it again.
        return CallbackResponse(
            failure=AttemptFailure(describe(error), is_final=not error.retryable)
        )
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        return CallbackResponse(failure=AttemptFailure(describe_error(error), is_final=True))
    except httpx2.HTTPError as error:
        return CallbackResponse(failure=AttemptFailure(describe_error(error)))
    except Exception as error:
        log.exception("callback_send_failed")
        return CallbackResponse(
            failure=AttemptFailure(f"the service failed to send it: {type(error).__name__}")
        )


def _judge(response: httpx2.Response, now: datetime) -> CallbackResponse:
    status = response.status_code
    if response.is_success:
        return CallbackResponse(status)
    said = f"the receiver answered {status} {response.reason_phrase}".rstrip()
    if response.is_redirect:
        said += "; redirects are not followed"
    is_final = status == HTTPStatus.GONE
    retry_after = parse_retry_after(response.headers.get("Retry-After"), now)
    return CallbackResponse(status, AttemptFailure(said, status, is_final), retry_after)
