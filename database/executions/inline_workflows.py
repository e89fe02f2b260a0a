"""Inline workflows: one row of ``workflows`` per organization, for executions of unsaved documents.

``workflow_executions.workflowId`` must refer to a row of ``workflows``, because the main project's
backend enforces the foreign key. See docs/decisions/0013-unsaved-documents.md.
"""

from sqlalchemy import ColumnElement, Connection, and_, func

from database.connection.engines import insert_or_ignore
from database.tables import workflows

INLINE_WORKFLOW = "orchestrator-inline"
"""Id of the row without an organization; the other ids append ``:`` and the organization."""
INLINE_WORKFLOW_NAME = "Unsaved workflows"
_PREFIX = f"{INLINE_WORKFLOW}:"
_NOTHING = '{"nodes": [], "connections": []}'


def inline_workflow_id(organization_id: str | None) -> str:
    """Return the ``workflowId`` of an organization's executions of unsaved documents."""
    return INLINE_WORKFLOW if organization_id is None else f"{_PREFIX}{organization_id}"


def is_inline_workflow_id(workflow_id: str) -> bool:
    """Return whether an id is reserved for inline workflows."""
    return workflow_id == INLINE_WORKFLOW or workflow_id.startswith(_PREFIX)


def is_saved() -> ColumnElement[bool]:
    """Return the SQL condition for rows that are not inline workflows."""
    # Not LIKE, because SQLite ignores the case in it.
    prefix = func.substr(workflows.c.id, 1, len(_PREFIX))
    return and_(workflows.c.id != INLINE_WORKFLOW, prefix != _PREFIX)


def ensure_inline_workflow(connection: Connection, organization_id: str | None, now: str) -> None:
    """Create the row of an organization if it does not exist."""
    connection.execute(
        insert_or_ignore(connection.dialect.name, workflows),
        {
            "id": inline_workflow_id(organization_id),
            "organizationId": organization_id,
            "name": INLINE_WORKFLOW_NAME,
            "data": _NOTHING,
            "createdAt": now,
            "updatedAt": now,
        },
    )
