"""Failure queries: reads failed executions and the failure workflows that they started."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from database.connection.reader import Reader
from database.queries.results import FailureWorkflowStart
from database.tables import failures, runs

EXAMPLES_PER_GROUP = 3
"""Number of executions that the list of failures shows for each group."""

_FAILURE_WORKFLOW = select(
    failures.c.failureWorkflowId, failures.c.failureExecutionId, failures.c.failureError
).where(failures.c.executionId == bindparam("execution"), failures.c.failureWorkflowId.is_not(None))


def read_failure_workflow(connection: Connection, execution_id: str) -> FailureWorkflowStart | None:
    """Return the start of the failure workflow of an execution; ``None`` if it has none."""
    row = connection.execute(_FAILURE_WORKFLOW, {"execution": execution_id}).first()
    if row is None:
        return None
    return FailureWorkflowStart(row.failureWorkflowId, row.failureExecutionId, row.failureError)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed executions with the same fingerprint."""

    fingerprint: str
    workflow_id: str
    workflow_name: str
    organization_id: str | None
    node_id: str | None
    node_type: str | None
    message: str
    count: int
    rerun_count: int
    """Number of those that were run again."""
    first_at: str
    last_at: str
    execution_ids: list[str]
    """The last ones, newest first."""


_GROUP_EXECUTIONS = (
    select(failures, runs.c.workflowName)
    .join(runs, runs.c.executionId == failures.c.executionId)
    .where(
        failures.c.organization == bindparam("organization"),
        failures.c.fingerprint == bindparam("fingerprint"),
    )
    .order_by(failures.c.failedAt.desc(), failures.c.executionId.desc())
    .limit(EXAMPLES_PER_GROUP)
)


class FailureQueries:
    """Reads failed executions."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def groups(
        self, organization_id: str | None, workflow_id: str | None, limit: int
    ) -> list[FailureGroup]:
        """Return up to ``limit`` groups, the one with the latest failure first."""
        last = func.max(failures.c.failedAt)
        query = (
            select(
                failures.c.organization,
                failures.c.fingerprint,
                func.count(),
                func.count(failures.c.rerunAs),
                func.min(failures.c.failedAt),
                last,
            )
            .group_by(failures.c.organization, failures.c.fingerprint)
            .order_by(last.desc(), failures.c.fingerprint)
            .limit(limit)
        )
        if organization_id is not None:
            query = query.where(failures.c.organization == organization_id)
        if workflow_id is not None:
            query = query.where(failures.c.workflowId == workflow_id)

        def read(connection: Connection) -> list[FailureGroup]:
            found: list[FailureGroup] = []
            for organization, fingerprint, count, reruns, first, latest in connection.execute(
                query
            ):
                values = {"organization": organization, "fingerprint": fingerprint}
                rows = connection.execute(_GROUP_EXECUTIONS, values).all()
                if not rows:  # another program has deleted the executions
                    continue
                found.append(
                    FailureGroup(
                        fingerprint,
                        rows[0].workflowId,
                        rows[0].workflowName,
                        organization or None,
                        rows[0].nodeId,
                        rows[0].nodeType,
                        rows[0].message,
                        count,
                        reruns,
                        first,
                        latest,
                        [row.executionId for row in rows],
                    )
                )
            return found

        return await self._reader.run(read)
