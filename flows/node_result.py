"""What a handler may return, and what becomes of it on its way into the journal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from database.records import Child
from engine.errors import NodeError
from engine.parking import why_not_parking
from engine.values import JsonValue, dump_json
from tasks.masking import SECRETS


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


def checked_result(returned: object) -> NodeResult:
    """The result of a handler that returned ``returned``.

    Raises:
        NodeError: it is no dict, it reports a failure, or JSON cannot carry it.
    """
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        raise NodeError(f"the handler returned {kind}, not a dict", retryable=False)
    result = dict(cast("Mapping[str, JsonValue]", returned))
    if result.get("success") is False:
        message = result.get("message")
        raise NodeError(str(message) if message else "the handler reported a failure")
    output = result.pop("outputData", None)
    try:
        output_data = dump_json(output)
    except ValueError as error:
        raise NodeError(f"the handler's outputData is no JSON: {error}", retryable=False) from None
    try:
        detail = dump_json(result) if result else None
    except ValueError as error:
        raise NodeError(f"the handler's result is no JSON: {error}", retryable=False) from None
    if reason := why_not_parking(result):
        raise NodeError(f"the handler's result cannot park its node: {reason}", retryable=False)
    if SECRETS.holds_json(output_data) or (detail and SECRETS.holds_json(detail)):
        output_data = dump_json(SECRETS.value(json.loads(output_data)))
        detail = dump_json(SECRETS.value(json.loads(detail))) if detail else None
    stored: dict[str, JsonValue] = json.loads(detail or "{}")
    return NodeResult(output_data, detail, {**stored, "outputData": json.loads(output_data)})


def fit_to_be_told(error: Exception) -> Exception:
    """``error`` itself where it gives no secret away, else one that says the same without it."""
    told = SECRETS.error(_whole_text(error))
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
