"""Polls: reads the state of an execution for a client that polls it, in one read transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import Connection, bindparam, func, select

from database.connection.reader import Reader
from database.executions.callbacks import CallbackStatus, callback_status
from database.executions.queue import Queue
from database.queries.executions import read_execution, read_logs
from database.queries.results import Execution, NodeLog
from database.tables import callbacks, executions, runs
from engine.errors import ExecutionNotFoundError
from engine.status import ExecutionStatus

_VERSION = (
    select(
        executions.c.status,
        executions.c.startedAt,
        executions.c.completedAt,
        executions.c.currentNodeId,
        func.length(executions.c.error),
        runs.c.seq,
        runs.c.flowRunId,
        runs.c.cancelRequestedAt,
        callbacks.c.owner,
        callbacks.c.attempts,
        callbacks.c.dueAt,
        callbacks.c.deliveredAt,
        callbacks.c.abandonedAt,
    )
    .outerjoin(runs, runs.c.executionId == executions.c.id)
    .outerjoin(callbacks, callbacks.c.id == executions.c.id)
    .where(executions.c.id == bindparam("execution"))
)
"""The columns that differ between two responses; every change of a node run increases ``seq``."""
_DIGEST_BYTES = 12


@dataclass(frozen=True, slots=True)
class PollRequest:
    """The parts of an execution that a client requests; ``None`` means no limit."""

    execution_id: str
    lease_seconds: float
    last: int | None = None
    """Number of node runs."""
    cut_at: int | None = None
    """Maximum length of a payload of a node run, in characters."""
    output_characters: int = 0
    results_characters: int = 0
    is_known: Callable[[str], bool] = lambda _: False
    """Returns whether the client already has a version."""


@dataclass(frozen=True, slots=True)
class PolledState:
    """State of an execution at one moment."""

    execution: Execution
    logs: list[NodeLog]
    queue_position: int | None
    callback: CallbackStatus | None


@dataclass(frozen=True, slots=True)
class Poll:
    """Version of an execution, and its state unless the client already has this version."""

    version: str
    state: PolledState | None


class Polls:
    """Reads executions for clients that poll."""

    def __init__(self, reader: Reader, queue: Queue) -> None:
        self._reader = reader
        self._queue = queue

    async def read(self, request: PollRequest) -> Poll:
        """Return the version and the state of an execution.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """
        return await self._reader.run(
            lambda connection: self._read(connection, request), brief=True
        )

    def _read(self, connection: Connection, request: PollRequest) -> Poll:
        execution_id = request.execution_id
        row = connection.execute(_VERSION, {"execution": execution_id}).first()
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        position = None
        if row.status == ExecutionStatus.PENDING:
            position = self._queue.read_position(connection, execution_id, request.lease_seconds)
        parts = repr(
            (*row, position, request.output_characters, request.results_characters)
        ).encode()
        version = blake2b(parts, digest_size=_DIGEST_BYTES).hexdigest()
        if request.is_known(version):
            return Poll(version, None)
        execution = read_execution(
            connection, execution_id, request.output_characters, request.results_characters
        )
        return Poll(
            version,
            PolledState(
                execution,
                read_logs(connection, execution_id, request.last, request.cut_at),
                position,
                None if row.attempts is None else callback_status(connection, execution_id),
            ),
        )
