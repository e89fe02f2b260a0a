"""Definitions: reads the documents that executions run."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from database.connection.reader import Reader
from database.foreign_values import required_text_of
from database.tables import definitions, executions, runs
from engine.errors import ExecutionNotFoundError

_DEFINITION = (
    select(executions.c.workflowId, runs.c.workflowName, definitions.c.document)
    .join(runs, runs.c.executionId == executions.c.id)
    .join(definitions, definitions.c.hash == runs.c.definitionHash)
    .where(executions.c.id == bindparam("execution"))
)


@dataclass(frozen=True, slots=True)
class Definition:
    """The workflow that an execution runs, as it was at its submission; ``document`` is JSON."""

    workflow_id: str
    workflow_name: str
    document: str


class Definitions:
    """Reads definitions."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, execution_id: str) -> Definition:
        """Return the definition of an execution.

        Raises:
            ExecutionNotFoundError: If this service has no execution with this id.
        """
        row = await self._reader.run(
            lambda connection: connection.execute(_DEFINITION, {"execution": execution_id}).first()
        )
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        return Definition(required_text_of(row.workflowId), row.workflowName, row.document)
