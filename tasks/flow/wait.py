"""Nodes that park the execution until a moment, or until somebody answers: wait and approval."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import task
from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from engine.errors import NodeError
from engine.json_values import JsonValue, as_number, as_text
from engine.options import TimeLimit
from engine.parking import PARK
from engine.ports import Port
from tasks.compute import compute
from tasks.config.base import (
    TEMPLATED,
    MissingSettingError,
    NodeConfig,
    fill,
    fill_text,
    has_template,
    read_config,
)
from tasks.config.json_schema import WIDGET

MAX_WAIT_SECONDS = 10 * 366 * 86_400
"""Ten years: whoever asks for more means something else."""


_TEMPLATE: dict[str, Any] = {"type": "string", "title": "Template", "pattern": r"\{\{"}
_DURATION: dict[str, Any] = {
    "type": "number",
    "title": "Number",
    "minimum": 0,
    "maximum": MAX_WAIT_SECONDS,
}
_TIMESTAMP: dict[str, Any] = {
    "type": "string",
    "title": "Moment",
    "pattern": r"^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?\s*$",
}
_WAIT_TARGET_REQUIRED: dict[str, Any] = {
    "if": {"not": {"properties": {"waitSeconds": {}}, "required": ["waitSeconds"]}},
    "then": {"properties": {"waitUntil": {}}, "required": ["waitUntil"]},
}


class WaitConfig(
    NodeConfig, title="Wait", category="flow", json_schema_extra=_WAIT_TARGET_REQUIRED
):
    """Parks the execution and then passes its input on."""

    wait_seconds: Annotated[
        str | None, WithJsonSchema({"anyOf": [_DURATION, _TEMPLATE]}), TEMPLATED
    ] = Field(default=None, title="Seconds")
    """How many seconds to wait; may be a template."""
    wait_until: Annotated[
        str | None, WithJsonSchema({"anyOf": [_TIMESTAMP, _TEMPLATE]}), TEMPLATED
    ] = Field(default=None, title="Until", validate_default=True)
    """The moment to wait for, ISO 8601, in UTC where it names no zone; may be a template."""

    @field_validator("wait_seconds")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None and not has_template(text):
            _seconds(text)
        return text

    @field_validator("wait_until")
    @classmethod
    def _is_a_moment(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            if info.data.get("wait_seconds", "") is None:
                raise MissingSettingError("or waitSeconds is required")
        elif not has_template(text):
            _moment(text)
        return text


_ANSWERS = (
    Port("true", "Approved", ("approved", "approve", "accepted", "accept", "yes", "y", "1")),
    Port("false", "Rejected", ("rejected", "reject", "declined", "denied", "no", "n", "0")),
)


class ApprovalConfig(NodeConfig, title="Approval", category="flow", outputs=_ANSWERS):
    """Parks the execution until somebody approves or rejects."""

    approval_message: Annotated[str, TEMPLATED] = Field(
        default="", title="Message", json_schema_extra={WIDGET: "textarea"}
    )
    """What whoever answers is told; may hold templates."""
    timeout_seconds: TimeLimit = Field(default=None, title="Time to answer")
    """Seconds that people have, up to a year; without it for ever."""


@task(name="wait")
async def handle_wait(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its input on, later."""
    return await compute((node, input_data), _wait, node, input_data)


def _wait(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(WaitConfig, node)
    try:
        if config.wait_seconds is not None:
            given = as_text(fill("waitSeconds", config.wait_seconds, input_data))
            until = datetime.now(UTC) + timedelta(seconds=_seconds(given))
        else:
            until = _moment(fill_text("waitUntil", config.wait_until or "", input_data))
    except ValueError as error:
        raise NodeError(f"the wait {error}", retryable=False) from None
    return {
        "success": True,
        "message": f"Waits until {until.isoformat(timespec='seconds')}",
        "outputData": input_data,
        PARK: {"until": until.isoformat()},
    }


@task(name="approval")
async def handle_approval(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Passes its input on to one side or the other, once somebody answered."""
    return await compute((node, input_data), _approval, node, input_data)


def _approval(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(ApprovalConfig, node)
    return {
        "success": True,
        "message": fill_text("approvalMessage", config.approval_message, input_data),
        "outputData": input_data,
        PARK: {"asks": True, **given_up("nobody answered within", config.timeout_seconds)},
    }


def given_up(what: str, seconds: float | None, then: str = "") -> dict[str, JsonValue]:
    """The part of a ``park`` that fails the node after a time limit; nothing where there is none.

    ``what`` and ``then`` stand before and behind the seconds in the error.
    """
    if seconds is None:
        return {}
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"until": until.isoformat(), "fail": f"{what} {seconds:g} s{then}"}


def _seconds(text: str) -> float:
    seconds = as_number(text)
    if seconds is None or not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise ValueError(f"should be a number of seconds from 0 to ten years, not '{text}'")
    return float(seconds)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"should be a moment in ISO 8601, not '{text}'") from None
