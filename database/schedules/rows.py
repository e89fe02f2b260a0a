"""Schedule rows: the query of schedules with their workflows."""

from typing import Any

from sqlalchemy import Row, select

from database.foreign_values import required_text_of, text_of
from database.schedules.records import Schedule
from database.tables import schedules, workflows

SCHEDULES = select(
    *schedules.c,
    workflows.c.name.label("workflowName"),
    workflows.c.organizationId.label("organizationId"),
).join(workflows, workflows.c.id == schedules.c.workflowId)
"""Schedules of the workflows that exist."""


def schedule_of(row: Row[*tuple[Any, ...]]) -> Schedule:
    """Return the schedule of a row of ``SCHEDULES``."""
    return Schedule(
        id=row.id,
        workflow_id=row.workflowId,
        workflow_name=required_text_of(row.workflowName),
        organization_id=text_of(row.organizationId),
        node_id=row.nodeId,
        settings=row.settings,
        error=row.error,
        next_at=row.nextAt,
        due_at=row.dueAt,
        handled_at=row.handledAt,
        blocked_by=row.blockedBy,
        paused_at=row.pausedAt,
        last_instant=row.lastInstant,
        last_execution_id=row.lastExecutionId,
        last_skipped_instant=row.lastSkippedInstant,
        last_skip_reason=row.lastSkipReason,
        created_at=row.createdAt,
    )
