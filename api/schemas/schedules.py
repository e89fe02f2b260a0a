"""Schedule schemas: schedules in responses, and the body of a backfill."""

from enum import StrEnum
from typing import Annotated, Any, Self

from fastapi import Query
from pydantic import Field

from api.schemas.base import ApiModel, Instant, RequestModel
from database.schedules.records import Schedule
from engine.json_values import load_json

NextCount = Annotated[
    int, Query(alias="next", ge=0, le=100, description="Number of next instants to return.")
]


class ScheduleStatus(StrEnum):
    """State of a schedule."""

    ACTIVE = "active"
    """Its next instant starts an execution."""
    PAUSED = "paused"
    """It starts nothing until it is resumed."""
    BLOCKED = "blocked"
    """Its next instant waits for the end of an execution (``scheduleOverlap: queue``)."""
    INVALID = "invalid"
    """Its settings are invalid."""


class ScheduleResponse(ApiModel):
    """A schedule node of a saved workflow."""

    id: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    node_id: str
    status: ScheduleStatus
    cron: str | None = None
    every_seconds: int | None = None
    timezone: str | None = None
    jitter_seconds: int | None = None
    overlap: str | None = None
    misfire: str | None = None
    error: str | None = Field(description="Why its settings are invalid.")
    next_at: str | None = Field(description="The next instant; null if it is paused or invalid.")
    paused_at: str | None
    last_instant: str | None = Field(description="The last instant that started an execution.")
    last_execution_id: str | None
    last_skipped_instant: str | None = Field(
        description="The last instant that started no execution."
    )
    last_skip_reason: str | None = Field(description="`overlap`, `misfire` or `invalid`.")

    @classmethod
    def of_schedule(cls, schedule: Schedule) -> Self:
        """Return the response for a schedule."""
        return cls.of_fields(_fields(schedule))


class ScheduleDetailResponse(ScheduleResponse):
    """A schedule with its next instants."""

    next: list[str] = Field(description="The next instants, also of a paused schedule.")

    @classmethod
    def of_instants(cls, schedule: Schedule, instants: list[str]) -> Self:
        """Return the response for a schedule with these instants."""
        return cls.of_fields({**_fields(schedule), "next": instants})


class SchedulesResponse(ApiModel):
    """A page of schedules."""

    schedules: list[ScheduleResponse]
    next_cursor: str | None


class BackfillRequest(RequestModel):
    """The interval of a backfill."""

    since: Instant = Field(alias="from", description="Its first time, with a time zone.")
    until: Instant | None = Field(
        default=None, alias="to", description="Its end, which is not included; by default now."
    )


class BackfilledInstant(ApiModel):
    """An instant for which an execution was started."""

    instant: str
    execution_id: str


class BackfillResponse(ApiModel):
    """The executions that a backfill started."""

    schedule_id: str
    matched: int = Field(description="Number of instants in the interval.")
    executions: list[BackfilledInstant] = Field(
        description="The instants that had no execution before."
    )


def _fields(schedule: Schedule) -> dict[str, object]:
    settings: dict[str, Any] = {} if schedule.settings is None else load_json(schedule.settings)
    is_off = schedule.paused_at is not None or schedule.settings is None
    return {
        "id": schedule.id,
        "workflow_id": schedule.workflow_id,
        "workflow_name": schedule.workflow_name,
        "organization_id": schedule.organization_id,
        "node_id": schedule.node_id,
        "status": _status(schedule),
        "cron": settings.get("scheduleCron"),
        "every_seconds": None
        if "scheduleCron" in settings
        else settings.get("scheduleEverySeconds"),
        "timezone": settings.get("scheduleTimezone"),
        "jitter_seconds": settings.get("scheduleJitterSeconds"),
        "overlap": settings.get("scheduleOverlap"),
        "misfire": settings.get("scheduleMisfire"),
        "error": schedule.error,
        "next_at": None if is_off else schedule.next_at,
        "paused_at": schedule.paused_at,
        "last_instant": schedule.last_instant,
        "last_execution_id": schedule.last_execution_id,
        "last_skipped_instant": schedule.last_skipped_instant,
        "last_skip_reason": schedule.last_skip_reason,
    }


def _status(schedule: Schedule) -> ScheduleStatus:
    if schedule.settings is None:
        return ScheduleStatus.INVALID
    if schedule.paused_at is not None:
        return ScheduleStatus.PAUSED
    return ScheduleStatus.ACTIVE if schedule.blocked_by is None else ScheduleStatus.BLOCKED
