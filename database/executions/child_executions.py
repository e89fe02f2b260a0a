"""Child executions: executions that nodes of other executions call.

One transaction stores a child and parks the node. ``completion`` resumes the node at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from database.clock import Clock, to_text
from database.connection.engines import insert_or_ignore, is_foreign_key_violation
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.completion import cancel, cancel_children, notify_node, notify_parents
from database.executions.inputs import Child
from database.executions.journal_records import NodeEnded
from database.executions.node_runs import row_id
from database.executions.submissions import insert_execution
from database.records import Lease
from database.tables import children, executions, logs, runs, workflows
from engine.errors import ExecutionNotFoundError
from engine.status import OPEN, ExecutionStatus
from engine.subworkflow_calls import ChildResult

ORPHAN_BATCH_SIZE = 100
"""Maximum number of calls that one transaction of the sweep settles."""

_PARENT = executions.alias("parent")
_CHILD_IS_OVER = or_(executions.c.id.is_(None), executions.c.status.not_in(OPEN))
_UNSETTLED_CALLS = (
    select(children.c.executionId, _CHILD_IS_OVER.label("isOver"), _PARENT.c.id.label("parent"))
    .outerjoin(executions, executions.c.id == children.c.executionId)
    .outerjoin(runs, runs.c.executionId == children.c.executionId)
    .outerjoin(_PARENT, _PARENT.c.id == children.c.parentId)
    .where(children.c.notifiedAt.is_(None))
    .where(
        or_(
            _CHILD_IS_OVER,
            and_(
                or_(_PARENT.c.id.is_(None), _PARENT.c.status.not_in(OPEN)),
                runs.c.cancelRequestedAt.is_(None),
            ),
        )
    )
)
"""Calls that no other transaction settles: the child ended or was deleted without a notification of
the parent, or the parent ended and the child continues."""
_ORPHANS = select(children.c.executionId).where(
    children.c.parentId.is_(None),
    children.c.notifiedAt.is_not(None),
    ~exists().where(executions.c.id == children.c.rootId),
)
"""Calls whose parent and top-level execution were deleted, which no query counts any more."""


@dataclass(frozen=True, slots=True)
class CallingExecution:
    """An execution as the caller of other executions."""

    organization_id: str | None
    workflow_organization_id: str | None
    """Organization of its workflow, or of the execution if the workflow was deleted."""
    depth: int
    """0 for a top-level execution."""
    root_id: str
    """Id of the top-level execution of its chain of calls."""
    called_of_root: int
    """Number of executions that this top-level execution has called, directly or indirectly."""


def start_children(
    connection: Connection, lease: Lease, ended: Sequence[NodeEnded], now: str
) -> None:
    """Store the children of nodes that are now parked; a repeated write stores no child twice."""
    for node in ended:
        if node.child is not None:
            _start(connection, lease, row_id(lease, node.node_id), node.child, now)


def cancel_abandoned_children(connection: Connection, ended: Sequence[NodeEnded], now: str) -> None:
    """Cancel the children that nodes no longer wait for."""
    abandoned = [node.abandoned_child for node in ended if node.abandoned_child is not None]
    if abandoned:
        cancel(connection, abandoned, now)


def _start(connection: Connection, lease: Lease, node_run_id: str, child: Child, now: str) -> None:
    submission = child.submission
    row = {
        "executionId": submission.execution_id,
        "parentId": lease.execution_id,
        "nodeRunId": node_run_id,
        "depth": child.depth,
        "rootId": child.root_id,
    }
    if connection.execute(insert_or_ignore(connection.dialect.name, children), row).rowcount != 1:
        return
    connection.execute(
        update(logs)
        .where(logs.c.id == node_run_id)
        .values(childExecutionId=submission.execution_id)
    )
    try:
        with connection.begin_nested():
            insert_execution(connection, submission, now, lease.execution_id)
    except IntegrityError as error:
        if not is_foreign_key_violation(error):
            raise
        # The workflow was deleted after it was read, so the child has failed.
        reason = f"Workflow '{submission.workflow_id}' or its organization was deleted"
        failed = ExecutionStatus.FAILED
        end = ChildResult(submission.execution_id, submission.workflow_name, failed, reason)
        notify_node(connection, node_run_id, None, end)
        own_row = children.c.executionId == submission.execution_id
        connection.execute(update(children).where(own_row).values(notifiedAt=now))


class ChildExecutions:
    """Queries about calls, and the sweep that settles calls which other programs left open."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def caller(self, execution_id: str) -> CallingExecution:
        """Return an execution as a caller.

        Raises:
            ExecutionNotFoundError: If it was deleted.
        """
        root = func.coalesce(children.c.rootId, executions.c.id)
        of_root = children.alias("ofRoot")
        called = select(func.count()).where(of_root.c.rootId == root).scalar_subquery()
        query = (
            select(
                executions.c.organizationId,
                workflows.c.organizationId.label("ofWorkflow"),
                workflows.c.id.label("workflow"),
                func.coalesce(children.c.depth, 0).label("depth"),
                root.label("root"),
                called.label("called"),
            )
            .outerjoin(workflows, workflows.c.id == executions.c.workflowId)
            .outerjoin(children, children.c.executionId == executions.c.id)
            .where(executions.c.id == execution_id)
        )
        row = await self._reader.run(lambda connection: connection.execute(query).first())
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        of_workflow = row.organizationId if row.workflow is None else row.ofWorkflow
        return CallingExecution(row.organizationId, of_workflow, row.depth, row.root, row.called)

    async def chain(self, execution_id: str) -> list[tuple[str, str]]:
        """Return names and ids of the workflows from the top-level execution down to this one."""

        def read(connection: Connection) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            current: str | None = execution_id
            while current is not None:
                row = connection.execute(
                    select(runs.c.workflowName, executions.c.workflowId, children.c.parentId)
                    .join(executions, executions.c.id == runs.c.executionId)
                    .outerjoin(children, children.c.executionId == runs.c.executionId)
                    .where(runs.c.executionId == current)
                ).first()
                if row is None:
                    break
                found.append((row.workflowName, row.workflowId))
                current = row.parentId
            return found[::-1]

        return await self._reader.run(read)

    async def sweep(self) -> int:
        """Settle calls whose child or parent another program ended or deleted.

        Returns:
            The number of settled calls.
        """

        # Reads first, so that an idle service does not take the write lock.
        def has_work(connection: Connection) -> bool:
            queries = (_UNSETTLED_CALLS.limit(1), _ORPHANS.limit(1))
            return any(connection.execute(query).first() is not None for query in queries)

        return (
            await self._writer.run(self._settle)
            if await self._reader.run(has_work, snapshot=False)
            else 0
        )

    def _settle(self, connection: Connection) -> int:
        now = to_text(self._clock())
        found = connection.execute(_UNSETTLED_CALLS.limit(ORPHAN_BATCH_SIZE)).all()
        over = [row.executionId for row in found if row.isOver]
        notify_parents(connection, over, now)
        cancel_children(connection, over, now)
        cancel(connection, [row.executionId for row in found if not row.isOver], now)
        # If foreign keys are not enforced, the row still names the deleted parent.
        parentless = [row.executionId for row in found if row.parent is None]
        connection.execute(
            update(children).where(children.c.executionId.in_(parentless)).values(parentId=None)
        )
        orphans = _ORPHANS.limit(ORPHAN_BATCH_SIZE).subquery()
        is_orphan = children.c.executionId.in_(select(orphans.c.executionId))
        connection.execute(delete(children).where(is_orphan))
        return len(found)
