"""Execution ends: the end of an execution with all effects, in the transaction of its owner.

An internal error of the service ends an execution too. Then an effect that cannot be written, such
as its failure workflow, must not prevent the end: the execution would start again forever.
"""

from collections.abc import Callable

from sqlalchemy import Connection, Text, bindparam, func, or_, update
from sqlalchemy.exc import SQLAlchemyError

from database.connection.engines import to_service_error
from database.executions.completion import run_completion_effects
from database.executions.event_log import append_numbered_events
from database.executions.failures import record_failure
from database.executions.foreign_ends import HAS_NOT_ENDED, settle, was_ended
from database.executions.journal_records import ExecutionResult
from database.executions.node_runs import UNENDED, cancel_node_runs
from database.tables import executions, runs
from engine.errors import LeaseLostError, StorageError, describe
from engine.status import ExecutionStatus

# Statements are built once, because building one takes longer than SQLite takes to execute it.
_END_EXECUTION = (
    update(executions)
    .where(executions.c.id == bindparam("execution"))
    # If another program stored the same status, the results are added.
    .where(or_(HAS_NOT_ENDED, executions.c.status == bindparam("ends", type_=Text)))
    .values(
        status=bindparam("ends", type_=Text),
        completedAt=func.coalesce(executions.c.completedAt, bindparam("now", type_=Text)),
        currentNodeId=None,
        nodeResults=func.coalesce(executions.c.nodeResults, bindparam("results", type_=Text)),
        finalOutput=func.coalesce(executions.c.finalOutput, bindparam("final", type_=Text)),
        error=func.coalesce(executions.c.error, bindparam("reason", type_=Text)),
    )
)
_END_RUN = (
    update(runs)
    .where(runs.c.executionId == bindparam("execution"))
    .values(
        endedAt=bindparam("now"), owner=None, claimableAt=None, endError=None, seq=runs.c.seq + 1
    )
)


def end_execution(
    connection: Connection, execution_id: str, ending: ExecutionResult, now: str
) -> None:
    """End an execution with all effects. The caller has locked it and its relatives.

    Raises:
        LeaseLostError: If it was deleted.
    """
    cancel_node_runs(connection, [execution_id], now, UNENDED)
    if _set_ended(connection, execution_id, ending, now):
        run_completion_effects(connection, [execution_id], now)
        append_numbered_events(connection, [execution_id], now)
        if ending.status == ExecutionStatus.FAILED:
            record_failure(connection, execution_id, ending.failed_node_id, now)


def end_without_failing_effects(
    connection: Connection, execution_id: str, error: str, now: str
) -> list[str]:
    """End an execution as ``failed``, with all effects that can be written.

    Returns:
        The reasons of the others.

    Raises:
        LeaseLostError: If it was deleted.
    """
    reasons: list[str] = []

    def attempt(effect: Callable[[], object]) -> None:
        try:
            with connection.begin_nested():
                effect()
        except Exception as failure:
            if isinstance(failure, StorageError) or _is_temporary(failure):
                raise
            reasons.append(describe(failure))

    ids = [execution_id]
    attempt(lambda: cancel_node_runs(connection, ids, now, UNENDED))
    ending = ExecutionResult(ExecutionStatus.FAILED, error=error)
    if _set_ended(connection, execution_id, ending, now):
        attempt(lambda: run_completion_effects(connection, ids, now))
        attempt(lambda: append_numbered_events(connection, ids, now))
        attempt(lambda: record_failure(connection, execution_id, None, now))
    return reasons


def _is_temporary(failure: Exception) -> bool:
    """Return whether another attempt of the transaction may succeed."""
    if not isinstance(failure, SQLAlchemyError | OSError):
        return False
    return isinstance(to_service_error(failure), StorageError)


def _set_ended(
    connection: Connection, execution_id: str, ending: ExecutionResult, now: str
) -> bool:
    """Store the end; return false if another program has ended the execution, with its effects."""
    updated = connection.execute(
        _END_EXECUTION,
        {
            "execution": execution_id,
            "ends": ending.status,
            "now": now,
            "results": ending.node_results,
            "final": ending.final_output,
            "reason": ending.error,
        },
    )
    if updated.rowcount != 1:
        if not was_ended(connection, execution_id):
            raise LeaseLostError(execution_id)
        settle(connection, [execution_id], now)
        return False
    connection.execute(_END_RUN, {"execution": execution_id, "now": now})
    return True
