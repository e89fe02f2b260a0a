"""Listings: pages of executions and workflows, newest first, without payloads.

A page starts after a cursor and not after a number of rows, so that new and deleted rows move no
other rows. Executions of the same millisecond are in the order of their submission.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    Text,
    and_,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from database.clock import to_text
from database.connection.reader import Reader
from database.executions.inline_workflows import is_saved
from database.foreign_values import (
    MAX_SHORT_TEXT_CHARACTERS,
    cut,
    required_text_of,
    short_text_of,
    text_of,
)
from database.queries.executions import read_workflow
from database.queries.results import (
    ExecutionCursor,
    ExecutionFilter,
    ExecutionSummary,
    StoredValue,
    WorkflowCursor,
    WorkflowSummary,
)
from database.records import Workflow
from database.tables import children, executions, runs, workflows
from engine.errors import InvalidCursorError
from engine.status import ExecutionStatus

Item = TypeVar("Item")
Cursor = TypeVar("Cursor")
Found = TypeVar("Found")

# Literals, because the databases use an index on an expression only without parameters.
_none: ColumnElement[str] = literal_column("''", Text)
_created = func.coalesce(executions.c.createdAt, _none)
_position = func.coalesce(runs.c.position, literal_column("0", Integer))
_pending: ColumnElement[str] = literal_column(f"'{ExecutionStatus.PENDING}'", Text)
_status = func.coalesce(executions.c.status, _pending)
_EXECUTIONS = (
    select(
        executions.c.id,
        executions.c.workflowId,
        func.coalesce(runs.c.workflowName, workflows.c.name).label("name"),
        executions.c.organizationId,
        _status.label("status"),
        executions.c.triggerType,
        executions.c.createdAt,
        executions.c.startedAt,
        executions.c.completedAt,
        cut(executions.c.error, MAX_SHORT_TEXT_CHARACTERS + 1).label("error"),
        runs.c.rerunOf,
        children.c.parentId,
        _created.label("created"),
        _position.label("position"),
    )
    .outerjoin(runs, runs.c.executionId == executions.c.id)
    .outerjoin(children, children.c.executionId == executions.c.id)
    .outerjoin(workflows, workflows.c.id == executions.c.workflowId)
)
_workflow_created = func.coalesce(workflows.c.createdAt, _none)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item, Cursor]):
    """Items of a list; ``end`` is the cursor of the next page, or ``None`` on the last page."""

    items: list[Item]
    end: Cursor | None


def page_of(
    rows: Sequence[Found],
    limit: int,
    item_of: Callable[[Found], Item],
    cursor_of: Callable[[Found], Cursor],
) -> Page[Item, Cursor]:
    """Return a page of the first ``limit`` rows; one row more means that a page follows."""
    shown = rows[:limit]
    end = cursor_of(shown[-1]) if len(rows) > limit else None
    return Page([item_of(row) for row in shown], end)


class Listings:
    """Reads pages of executions and workflows."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def executions(
        self, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None = None
    ) -> Page[ExecutionSummary, ExecutionCursor]:
        """Return up to ``limit`` executions, including those of other programs."""
        return await self._reader.run(
            lambda connection: _executions(connection, wanted, limit, after)
        )

    async def executions_of(
        self,
        workflow_id: str,
        limit: int,
        after: ExecutionCursor | None = None,
        organization_id: str | None = None,
    ) -> tuple[Workflow, Page[ExecutionSummary, ExecutionCursor], int]:
        """Return a workflow, a page of its executions, and the number of all of them.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
        """
        wanted = ExecutionFilter(organization_id, workflow_id)
        count = select(func.count()).select_from(executions).where(*_conditions(wanted, None))
        return await self._reader.run(
            lambda connection: (
                read_workflow(connection, workflow_id),
                _executions(connection, wanted, limit, after),
                connection.execute(count).scalar_one(),
            )
        )

    async def workflows(
        self, organization_id: str | None, limit: int, after: WorkflowCursor | None = None
    ) -> Page[WorkflowSummary, WorkflowCursor]:
        """Return up to ``limit`` workflows, of one organization or of all."""
        query = (
            select(
                workflows.c.id,
                workflows.c.organizationId,
                workflows.c.name,
                workflows.c.tags,
                workflows.c.createdAt,
                workflows.c.updatedAt,
            )
            .where(is_saved())
            .order_by(_workflow_created.desc(), workflows.c.id)
            .limit(limit + 1)
        )
        if organization_id is not None:
            query = query.where(workflows.c.organizationId == organization_id)
        if after is not None:
            query = query.where(
                *_follows(_workflow_created, after.created_at, workflows.c.id <= after.id)
            )

        def read(connection: Connection) -> Sequence[Row[*tuple[Any, ...]]]:
            if after is not None:
                _validate_cursor(connection, after.created_at, after.id)
            return connection.execute(query).all()

        return page_of(
            await self._reader.run(read),
            limit,
            lambda row: WorkflowSummary(
                required_text_of(row.id),
                text_of(row.organizationId),
                required_text_of(row.name),
                text_of(row.tags),
                text_of(row.createdAt),
                text_of(row.updatedAt),
            ),
            lambda last: WorkflowCursor(_sort_key(last.createdAt), _sort_key(last.id)),
        )


def _executions(
    connection: Connection, wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
) -> Page[ExecutionSummary, ExecutionCursor]:
    if after is not None:
        _validate_cursor(connection, after.created_at, after.id)
    rows = connection.execute(_executions_query(wanted, limit, after)).all()
    return page_of(
        rows,
        limit,
        _summary,
        lambda last: ExecutionCursor(_sort_key(last.createdAt), last.position, _sort_key(last.id)),
    )


def _executions_query(
    wanted: ExecutionFilter, limit: int, after: ExecutionCursor | None
) -> Select[*tuple[Any, ...]]:
    """Return the query of a page and of the first row after it.

    With several statuses, it merges a page of each of them, because an index contains the rows of
    one status in the order of the list.
    """
    query = (
        _EXECUTIONS.where(*_conditions(wanted, after))
        .order_by(_created.desc(), _position.desc(), executions.c.id)
        .limit(limit + 1)
    )
    if not wanted.statuses:
        return query
    first, *others = (query.where(_status == status) for status in sorted(wanted.statuses))
    if not others:
        return first
    # In subqueries, because SQLite accepts an order and a limit only there.
    pages = (select(page.subquery()) for page in (first, *others))
    merged = union_all(*pages).subquery()
    in_order = (merged.c.created.desc(), merged.c.position.desc(), merged.c.id)
    return select(merged).order_by(*in_order).limit(limit + 1)


def _summary(row: Row[*tuple[Any, ...]]) -> ExecutionSummary:
    return ExecutionSummary(
        id=required_text_of(row.id),
        workflow_id=required_text_of(row.workflowId),
        workflow_name=text_of(row.name),
        organization_id=text_of(row.organizationId),
        status=required_text_of(row.status),
        trigger_type=text_of(row.triggerType),
        created_at=text_of(row.createdAt),
        started_at=text_of(row.startedAt),
        completed_at=text_of(row.completedAt),
        error=short_text_of(row.error),
        rerun_of=row.rerunOf,
        parent_execution_id=row.parentId,
    )


def _validate_cursor(connection: Connection, *values: StoredValue) -> None:
    """Check that the database can compare its sort keys with these.

    Raises:
        InvalidCursorError: If a value is not a string; only SQLite stores such values.
    """
    if connection.dialect.name != "sqlite" and not all(isinstance(v, str) for v in values):
        raise InvalidCursorError


def _sort_key(value: Any) -> StoredValue:
    """Return a sort key unchanged, because SQLite sorts values by type first."""
    return "" if value is None else value


def _follows(
    created: ColumnElement[str], created_at: StoredValue, is_before: ColumnElement[bool]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions for rows after a cursor; ``is_before`` compares rows of its time.

    The first one limits the range of an index. ``OR`` instead of ``AND NOT`` would make PostgreSQL
    expect so few rows that it sorts all of them.
    """
    return created <= created_at, not_(and_(created == created_at, is_before))


def _conditions(
    wanted: ExecutionFilter, after: ExecutionCursor | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.organization_id is not None:
        conditions.append(executions.c.organizationId == wanted.organization_id)
    if wanted.workflow_id is not None:
        conditions.append(executions.c.workflowId == wanted.workflow_id)
    if wanted.parent_id is not None:
        called = select(children.c.executionId).where(children.c.parentId == wanted.parent_id)
        conditions.append(executions.c.id.in_(called))
    if wanted.created_from is not None:
        conditions.append(_created >= to_text(wanted.created_from))
    if wanted.created_to is not None:
        conditions.append(_created < to_text(wanted.created_to))
    if after is not None:
        same_position = and_(_position == after.position, executions.c.id <= after.id)
        is_before = or_(_position > after.position, same_position)
        conditions += _follows(_created, after.created_at, is_before)
    return conditions
