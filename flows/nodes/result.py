"""What a handler may return, and what becomes of it on its way into the journal."""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from database.executions.inputs import Child
from engine.errors import NodeError
from engine.json_encoding import TooLargeError, encode_within
from engine.json_values import JsonValue, json_error
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.parking import park_error
from offload import check_stop
from tasks.masking import secret_masker

_NO_LIMIT = sys.maxsize
"""A masked value may be a few bytes larger than the value, which was small enough."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """A handler's result in the form in which it is stored, and as JSON reads it back.

    Children work with ``result``, never with the handler's own objects: a run that goes on after a
    crash sees the same values, and no handler can change what another one was given.
    """

    output_data: str
    detail: str | None
    result: Mapping[str, JsonValue]
    child: Child | None = None
    """What the node calls, to be stored with its result."""


@functools.cache
def result_check(limits: RunLimits) -> Callable[[object], NodeResult]:
    """Return the function that checks results, always the same one for the same limits."""
    return functools.partial(checked_result, limits=limits)


def checked_result(returned: object, limits: RunLimits = DEFAULT_RUN_LIMITS) -> NodeResult:
    """The result of a handler that returned ``returned``.

    Raises:
        NodeError: it is no dict, it reports a failure, JSON cannot carry it, or it is larger than
            allowed.
    """
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        raise NodeError(f"the handler returned {kind}, not a dict", retryable=False)
    result = dict(cast("Mapping[str, JsonValue]", returned))
    if result.get("success") is False:
        message = result.get("message")
        raise NodeError(str(message) if message else "the handler reported a failure")
    output = result.pop("outputData", None)
    output_data, copy = _encoded("outputData", output, limits.node_result_bytes, limits)
    left = limits.node_result_bytes - len(output_data)
    detail: str | None = None
    rest: JsonValue = {}
    if result:
        detail, rest = _encoded("result", result, left, limits)
    if reason := park_error(result):
        raise NodeError(f"the handler's result cannot park its node: {reason}", retryable=False)
    if secret_masker.contains_json(output_data) or (detail and secret_masker.contains_json(detail)):
        output_data, copy = _encoded("outputData", secret_masker.mask_json(copy), _NO_LIMIT, limits)
        if detail:
            detail, rest = _encoded("result", secret_masker.mask_json(rest), _NO_LIMIT, limits)
    stored = cast("dict[str, JsonValue]", rest)
    return NodeResult(output_data, detail, {**stored, "outputData": copy})


def _encoded(
    what: str, value: JsonValue, most_bytes: int, limits: RunLimits
) -> tuple[str, JsonValue]:
    """Return a part of a result as JSON text, and a copy of it."""
    try:
        return encode_within(value, most_bytes, check_stop)
    except TooLargeError:
        raise limits.result_too_large() from None
    except ValueError as error:
        reason = json_error(value) or str(error)
        raise NodeError(f"the handler's {what} is no JSON: {reason}", retryable=False) from None


def redact_error(error: Exception) -> Exception:
    """``error`` itself where it gives no secret away, else one that says the same without it."""
    told = secret_masker.mask_truncated(_whole_text(error))
    if told == _whole_text(error):
        return error
    if not isinstance(error, NodeError):
        return NodeError(f"{type(error).__name__}: {told}")
    return NodeError(
        told,
        retryable=error.retryable,
        retry_after=error.retry_after,
        status_code=error.status_code,
    )


def error_detail(error: BaseException) -> dict[str, JsonValue]:
    """Return the fields of an error's data besides ``nodeId`` and ``message``."""
    if isinstance(error, NodeError) and error.status_code is not None:
        return {"statusCode": error.status_code}
    return {}


def _whole_text(error: Exception) -> str:
    """What ``describe`` would begin with, before it is cut."""
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 - a handler's own exception class may be broken
        return ""
