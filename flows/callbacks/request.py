"""Callback request: builds, signs and sends the request with the result of an execution.

Requests are signed according to Standard Webhooks (https://www.standardwebhooks.com), for which
libraries exist in many languages.
"""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
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
from tracing import CallSpan, TraceContext, TracedExecution, tracer
from version import VERSION

log = structlog.get_logger()

USER_AGENT = f"Workflow-Orchestration-Service/{VERSION}"
MAX_OUTPUT_CHARS = 256 * 1024
"""Maximum length of ``finalOutput`` in a callback, in characters; polling returns it completely."""

_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


def check_callback_url(text: str) -> str:
    """Return ``text`` if it is a valid callback URL.

    Raises:
        ValueError: If it is not valid; the message contains the reason.
    """
    if _CONTROL.search(text):
        raise ValueError("it contains a space or a control character")
    url = parse_url(text)
    if url.userinfo:
        raise ValueError("must not contain a user name or a password; use CALLBACK_SIGNING_SECRET")
    return text


def body_of(execution: Execution, workflow_name: str) -> str:
    """Return the JSON body of a callback, which is the same for every attempt."""
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
        return output.text  # another program replaced it by an invalid value


def headers_of(
    delivery: CallbackAttempt, body: str, secret: str | None, now: datetime
) -> dict[str, str]:
    """Return the headers of an attempt. All attempts of a callback have the same ``webhook-id``."""
    message_id = f"msg_{delivery.id}"
    timestamp = now.astimezone(UTC).replace(microsecond=0)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(timestamp.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(message_id, timestamp, body)
    return headers


def callback_span(delivery: CallbackAttempt, host: str, execution: Execution) -> CallSpan:
    """Start the span of an attempt, in the trace of its execution."""
    traced = TracedExecution(
        delivery.execution_id,
        execution.workflow_id,
        delivery.workflow_name,
        execution.organization_id,
        context=TraceContext.decode(delivery.trace_context),
    )
    return tracer().callback(traced, host, delivery.attempt)


async def send(
    url: str,
    body: str,
    headers: Mapping[str, str],
    timeout_seconds: float,
    now: datetime,
    calls: HandlerSettings,
) -> int | AttemptFailure:
    """Make one attempt; return the status of a success. The body of the response is not read."""
    # The size limit does not apply, because the body is not read.
    unlimited = replace(calls, http_max_response_bytes=sys.maxsize)
    try:
        async with (
            asyncio.timeout(timeout_seconds),  # for all steps; httpx2 limits each of them
            new_client(unlimited, timeout_seconds) as client,
            client.stream(
                "POST", url, content=body.encode(), headers=dict(headers), follow_redirects=False
            ) as response,
        ):
            return _judge(response, now)
    except (TimeoutError, httpx2.TimeoutException):
        return AttemptFailure(f"no response within {timeout_seconds:g} s")
    except NodeError as error:  # the client rejected the URL
        return AttemptFailure(describe(error), is_final=not error.retryable)
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as error:
        return AttemptFailure(describe_error(error), is_final=True)
    except httpx2.HTTPError as error:
        return AttemptFailure(describe_error(error))
    except Exception as error:
        log.exception("callback_send_failed")
        return AttemptFailure(f"the service failed to send the request: {type(error).__name__}")


def _judge(response: httpx2.Response, now: datetime) -> int | AttemptFailure:
    status = response.status_code
    if response.is_success:
        return status
    error = f"the receiver answered {status} {response.reason_phrase}".rstrip()
    if response.is_redirect:
        error += "; redirects are not followed"
    retry_after = parse_retry_after(response.headers.get("Retry-After"), now)
    return AttemptFailure(error, status, status == HTTPStatus.GONE, retry_after)
