"""Schedule node: starts executions at the times of a cron expression or at an interval."""

# ruff: noqa: ARG001 - all handlers have the same parameters

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from prefect import task
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.json_values import JsonValue
from tasks.compute import success
from tasks.config.base import MissingSettingError, Name, NodeConfig
from tasks.config.fields import lower
from tasks.flow.occurrences import (
    CronOccurrences,
    IntervalOccurrences,
    Occurrences,
    cron_error,
    zone_of,
)

MAX_EVERY_SECONDS = 366 * 86_400
"""Maximum interval, in seconds: a year."""
MAX_JITTER_SECONDS = 3_600
"""Maximum delay by ``scheduleJitterSeconds``, in seconds."""


class Overlap(StrEnum):
    """The effect of an instant while an execution of the schedule has not ended."""

    SKIP = "skip"
    """No execution starts."""
    QUEUE = "queue"
    """The execution starts when the one before it has ended."""
    ALLOW = "allow"
    """The execution starts at once."""
    CANCEL = "cancel"
    """The execution before it is cancelled."""


class Misfire(StrEnum):
    """The effect of instants that passed while no service ran."""

    SKIP = "skip"
    """No execution starts for them."""
    ONCE = "once"
    """One execution starts, for the last of them."""
    ALL = "all"
    """An execution starts for each of them, up to a maximum."""


_TIMES_REQUIRED: dict[str, Any] = {
    "if": {"not": {"properties": {"scheduleCron": {}}, "required": ["scheduleCron"]}},
    "then": {"properties": {"scheduleEverySeconds": {}}, "required": ["scheduleEverySeconds"]},
}
_CRON: dict[str, Any] = {"pattern": r"^\s*\S+(\s+\S+){4}\s*$"}
_ZONE: dict[str, Any] = {"pattern": r"^\s*[A-Za-z0-9_+\-/]+\s*$"}


class ScheduleConfig(
    NodeConfig,
    title="Schedule",
    category="start",
    inputs=(),
    pure=True,
    json_schema_extra=_TIMES_REQUIRED,
):
    """Starts executions of a saved workflow by the clock, and passes on the time."""

    schedule_cron: Name | None = Field(
        default=None, title="Cron expression", json_schema_extra=_CRON
    )
    """Five fields: minute, hour, day of the month, month, day of the week. It takes precedence."""
    schedule_every_seconds: Annotated[int, Field(ge=1, le=MAX_EVERY_SECONDS)] | None = Field(
        default=None, title="Every seconds", validate_default=True
    )
    """Interval in whole seconds, counted from 1970 in UTC, so that 3600 is every full hour."""
    schedule_timezone: Name = Field(default="UTC", title="Time zone", json_schema_extra=_ZONE)
    """The time zone of the cron expression, such as Europe/Berlin."""
    schedule_jitter_seconds: int = Field(default=0, ge=0, le=MAX_JITTER_SECONDS, title="Jitter")
    """Maximum seconds by which an execution starts later; the same for each service."""
    schedule_overlap: Annotated[Overlap, BeforeValidator(lower)] = Field(
        default=Overlap.SKIP, title="While one runs"
    )
    """Whether an instant is skipped, waits, starts too, or cancels the execution before it."""
    schedule_misfire: Annotated[Misfire, BeforeValidator(lower)] = Field(
        default=Misfire.ONCE, title="After a downtime"
    )
    """Whether missed instants are skipped, run once, or all run."""

    @field_validator("schedule_cron")
    @classmethod
    def _is_an_expression(cls, text: str | None) -> str | None:
        if text is not None and (reason := cron_error(text)):
            raise ValueError(reason)
        return text

    @field_validator("schedule_every_seconds")
    @classmethod
    def _has_times(cls, seconds: int | None, info: ValidationInfo) -> int | None:
        if seconds is None and info.data.get("schedule_cron", "") is None:
            raise MissingSettingError("or scheduleCron is required")
        return seconds

    @field_validator("schedule_timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        zone_of(name)
        return name

    def occurrences(self) -> Occurrences:
        """Return the instants of the schedule."""
        if self.schedule_cron is not None:
            return CronOccurrences(self.schedule_cron, zone_of(self.schedule_timezone))
        assert self.schedule_every_seconds is not None
        return IntervalOccurrences(self.schedule_every_seconds)


@task(name="schedule")
async def handle_schedule(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Return the payload of the schedule, or the current time if a client started it."""
    if input_data is None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return success("Started without a schedule", {"scheduledAt": now})
    return success("Started by the schedule", input_data)
