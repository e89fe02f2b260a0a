"""Failure queries: reads failed executions and the failure workflows that they started."""

from sqlalchemy import Connection, bindparam, select

from database.queries.results import FailureWorkflowStart
from database.tables import failures

_FAILURE_WORKFLOW = select(
    failures.c.failureWorkflowId, failures.c.failureExecutionId, failures.c.failureError
).where(failures.c.executionId == bindparam("execution"), failures.c.failureWorkflowId.is_not(None))


def read_failure_workflow(connection: Connection, execution_id: str) -> FailureWorkflowStart | None:
    """Return the start of the failure workflow of an execution; ``None`` if it has none."""
    row = connection.execute(_FAILURE_WORKFLOW, {"execution": execution_id}).first()
    if row is None:
        return None
    return FailureWorkflowStart(row.failureWorkflowId, row.failureExecutionId, row.failureError)
