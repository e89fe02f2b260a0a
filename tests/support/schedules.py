"""Schedules in tests: workflows with a schedule node, and schedulers without a running service."""

import json
from typing import Any

from sqlalchemy import select

from database import Database
from database.connection.engines import insert_of
from database.schedules.records import PendingLimits, Schedule
from database.tables import executions, schedule_runs, workflows
from flows.schedules.documents import schedule_id_of
from flows.schedules.scheduler import Scheduler, SchedulerSettings
from tasks.registry import DEFAULT
from tests.support.documents import document, node

NO_LIMITS = PendingLimits(1_000_000, 1_000_000)


def scheduled(**config: object) -> dict[str, Any]:
    """Return a document with one schedule node, ``clock``."""
    return document(node("clock", "schedule", **config), node("end"), flow=("clock -> end",))


def scheduler_of(database: Database, pending: PendingLimits = NO_LIMITS) -> Scheduler:
    """Return a scheduler that runs only when a test calls it."""
    return Scheduler(database, DEFAULT, SchedulerSettings(pending, 1.0), lambda: None)


async def save(
    database: Database,
    workflow_id: str,
    content: object,
    updated_at: str | None = None,
    **more: Any,
) -> str:
    """Save a workflow as another program does; return the id of its schedule."""
    data = content if isinstance(content, str) else json.dumps(content)
    values = {"name": "W", "data": data, "updatedAt": updated_at, **more}

    def write(connection: Any) -> None:
        statement = insert_of(connection.dialect.name)(workflows).values(id=workflow_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    await database._access.writer.run(write)
    return schedule_id_of(workflow_id, "clock")


async def read(database: Database, schedule_id: str) -> Schedule:
    """Return a schedule."""
    return (await database.schedules.read(schedule_id))[0]


async def runs_of(database: Database, schedule_id: str | None = None) -> list[tuple[str, str]]:
    """Return the instants and the executions of one schedule, or of all of them."""
    query = select(schedule_runs.c.instant, schedule_runs.c.executionId)
    if schedule_id is not None:
        query = query.where(schedule_runs.c.scheduleId == schedule_id)
    query = query.order_by(schedule_runs.c.instant)
    rows = await database._access.reader.run(lambda connection: connection.execute(query).all())
    return [(row.instant, row.executionId) for row in rows]


async def instants_of(database: Database, schedule_id: str) -> list[str]:
    """Return the minutes and seconds of the instants of a schedule that started an execution."""
    return [instant[14:19] for instant, _ in await runs_of(database, schedule_id)]


async def status_of(database: Database, execution_id: str) -> str:
    """Return the status of an execution."""
    query = select(executions.c.status).where(executions.c.id == execution_id)
    return await database._access.reader.run(lambda connection: connection.scalar(query)) or ""
