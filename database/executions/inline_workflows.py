"""Where executions of unsaved documents belong: one row of ``workflows`` for each organization.

``workflow_executions.workflowId`` must name a row of ``workflows``, and the main project's backend
enforces it. See docs/decisions/0013-unsaved-documents.md.
"""

from sqlalchemy import ColumnElement, Connection, and_, func

from database.connection.engines import insert_or_ignore
from database.tables import workflows

INLINE_WORKFLOW = "orchestrator-inline"
"""The id of the row for those without an organization; the others' ids go on with ``:`` and it."""
INLINE_WORKFLOW_NAME = "Unsaved workflows"
_PREFIX = f"{INLINE_WORKFLOW}:"
_NOTHING = '{"nodes": [], "connections": []}'


def inline_workflow_id(organization_id: str | None) -> str:
    """The ``workflowId`` of an organization's executions of unsaved documents."""
    return INLINE_WORKFLOW if organization_id is None else f"{_PREFIX}{organization_id}"


def is_inline_workflow_id(workflow_id: str) -> bool:
    """Whether an id is kept for such rows."""
    return workflow_id == INLINE_WORKFLOW or workflow_id.startswith(_PREFIX)


def is_saved() -> ColumnElement[bool]:
    """Leaves such rows out of a query."""
    # Not LIKE, which SQLite asks without regard to case.
    beginning = func.substr(workflows.c.id, 1, len(_PREFIX))
    return and_(workflows.c.id != INLINE_WORKFLOW, beginning != _PREFIX)


def ensure_inline_workflow(connection: Connection, organization_id: str | None, now: str) -> None:
    """Makes the row of an organization, unless it is there."""
    connection.execute(
        insert_or_ignore(connection, workflows),
        {
            "id": inline_workflow_id(organization_id),
            "organizationId": organization_id,
            "name": INLINE_WORKFLOW_NAME,
            "data": _NOTHING,
            "createdAt": now,
            "updatedAt": now,
        },
    )
