"""Node result: checks the return value of a handler and converts it for the journal."""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from database.executions.inputs import Child
from engine.errors import NodeError, PermanentError
from engine.json_encoding import TooLargeError, encode_within
from engine.json_values import JsonValue, json_error
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.parking import park_error
from offload import check_stop
from tasks.masking import secret_masker

_NO_LIMIT = sys.maxsize
"""Limit of a masked value, because masking may add a few bytes to a value within its limit."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """The result of a handler in its stored form and as parsed JSON.

    Other nodes use ``result``, not the handler's objects, so that they see the same values after a
    crash and no handler can change the values of another one.
    """

    output_data: str
    detail: str | None
    result: Mapping[str, JsonValue]
    child: Child | None = None
    """The child execution that the node calls; it is stored with the result."""


@functools.cache
def result_check(limits: RunLimits) -> Callable[[object], NodeResult]:
    """Return the function that checks results; equal limits return the same function."""
    return functools.partial(checked_result, limits=limits)


def checked_result(returned: object, limits: RunLimits = DEFAULT_RUN_LIMITS) -> NodeResult:
    """Return the result for the return value of a handler.

    Raises:
        NodeError: If the value is not a dict, reports a failure, is not valid JSON, or is too
            large.
    """
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        raise PermanentError(f"the handler returned {kind}, not a dict")
    result = dict(cast("Mapping[str, JsonValue]", returned))
    if result.get("success") is False:
        message = result.get("message")
        raise NodeError(str(message) if message else "the handler reported a failure")
    output = result.pop("outputData", None)
    output_data, copy = _encoded("outputData", output, limits.node_result_bytes, limits)
    max_bytes = limits.node_result_bytes - len(output_data)
    detail: str | None = None
    rest: JsonValue = {}
    if result:
        detail, rest = _encoded("result", result, max_bytes, limits)
    if reason := park_error(result):
        raise PermanentError(f"the handler's result cannot park its node: {reason}")
    if secret_masker.contains_json(output_data) or (detail and secret_masker.contains_json(detail)):
        output_data, copy = _encoded("outputData", secret_masker.mask_json(copy), _NO_LIMIT, limits)
        if detail:
            detail, rest = _encoded("result", secret_masker.mask_json(rest), _NO_LIMIT, limits)
    stored = cast("dict[str, JsonValue]", rest)
    return NodeResult(output_data, detail, {**stored, "outputData": copy})


def _encoded(
    name: str, value: JsonValue, max_bytes: int, limits: RunLimits
) -> tuple[str, JsonValue]:
    """Return a part of a result as a JSON string, and a copy of it."""
    try:
        return encode_within(value, max_bytes, check_stop)
    except TooLargeError:
        raise limits.result_too_large() from None
    except ValueError as error:
        reason = json_error(value) or str(error)
        raise PermanentError(f"the handler's {name} is not valid JSON: {reason}") from None


def redact_error(error: Exception) -> Exception:
    """Return ``error`` if it contains no secret, or else a copy of it without the secret."""
    message = secret_masker.mask_truncated(_message(error))
    if message == _message(error):
        return error
    if not isinstance(error, NodeError):
        return NodeError(f"{type(error).__name__}: {message}")
    return NodeError(
        message,
        retryable=error.retryable,
        retry_after=error.retry_after,
        status_code=error.status_code,
    )


def error_detail(error: BaseException) -> dict[str, JsonValue]:
    """Return the fields of an error's data in addition to ``nodeId`` and ``message``."""
    if isinstance(error, NodeError) and error.status_code is not None:
        return {"statusCode": error.status_code}
    return {}


def _message(error: Exception) -> str:
    """Return the message that ``describe`` shortens."""
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 - a handler's own exception class may be broken
        return ""
