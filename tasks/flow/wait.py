"""wait nodes: park the execution until a time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from prefect import task
from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from engine.errors import PermanentError
from engine.json_values import JsonValue, as_number, as_text
from engine.parking import PARK
from tasks.compute import computed, success
from tasks.config.base import (
    TEMPLATED,
    MissingSettingError,
    NodeConfig,
    fill,
    fill_text,
    has_template,
    read_config,
)

MAX_WAIT_SECONDS = 10 * 366 * 86_400
"""Maximum wait, in seconds: ten years, because a longer wait is almost certainly a mistake."""


_TEMPLATE: dict[str, Any] = {"type": "string", "title": "Template", "pattern": r"\{\{"}
_DURATION: dict[str, Any] = {
    "type": "number",
    "title": "Number",
    "minimum": 0,
    "maximum": MAX_WAIT_SECONDS,
}
_TIMESTAMP: dict[str, Any] = {
    "type": "string",
    "title": "Timestamp",
    "pattern": r"^\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?\s*$",
}
_WAIT_TARGET_REQUIRED: dict[str, Any] = {
    "if": {"not": {"properties": {"waitSeconds": {}}, "required": ["waitSeconds"]}},
    "then": {"properties": {"waitUntil": {}}, "required": ["waitUntil"]},
}


class WaitConfig(
    NodeConfig, title="Wait", category="flow", json_schema_extra=_WAIT_TARGET_REQUIRED
):
    """Parks the execution, and then passes on its input."""

    wait_seconds: Annotated[
        str | None, WithJsonSchema({"anyOf": [_DURATION, _TEMPLATE]}), TEMPLATED
    ] = Field(default=None, title="Seconds")
    """Seconds to wait; may be a template."""
    wait_until: Annotated[
        str | None, WithJsonSchema({"anyOf": [_TIMESTAMP, _TEMPLATE]}), TEMPLATED
    ] = Field(default=None, title="Until", validate_default=True)
    """The ISO 8601 timestamp to wait for, by default in UTC; may be a template."""

    @field_validator("wait_seconds")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None and not has_template(text):
            _seconds(text)
        return text

    @field_validator("wait_until")
    @classmethod
    def _is_a_timestamp(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            if info.data.get("wait_seconds", "") is None:
                raise MissingSettingError("or waitSeconds is required")
        elif not has_template(text):
            _timestamp(text)
        return text


@task(name="wait")
@computed
def handle_wait(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the input and park the node until the time; ``NodeError`` for an invalid one."""
    config = read_config(WaitConfig, node)
    try:
        if config.wait_seconds is not None:
            seconds = _seconds(as_text(fill("waitSeconds", config.wait_seconds, input_data)))
            until = datetime.now(UTC) + timedelta(seconds=seconds)
        else:
            until = _timestamp(fill_text("waitUntil", config.wait_until or "", input_data))
    except ValueError as error:
        raise PermanentError(f"the wait {error}") from None
    message = f"Waits until {until.isoformat(timespec='seconds')}"
    return success(message, input_data, **{PARK: {"until": until.isoformat()}})


def timeout_park(prefix: str, seconds: float | None, suffix: str = "") -> dict[str, JsonValue]:
    """Return the fields of ``park`` that fail the node after a time limit, or ``{}`` without one.

    The error consists of ``prefix``, the seconds and ``suffix``.
    """
    if seconds is None:
        return {}
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"until": until.isoformat(), "fail": f"{prefix} {seconds:g} s{suffix}"}


def _seconds(text: str) -> float:
    seconds = as_number(text)
    if seconds is None or not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise ValueError(f"should be a number of seconds from 0 to ten years, not '{text}'")
    return float(seconds)


def _timestamp(text: str) -> datetime:
    try:
        timestamp = datetime.fromisoformat(text.strip())
        return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"should be an ISO 8601 timestamp, not '{text}'") from None
