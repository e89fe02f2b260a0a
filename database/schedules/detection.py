"""Schedule detection: finds changed workflows, and stores the schedules of their documents.

A workflow counts as changed if its ``updatedAt`` or the size of its document differs from the
version that was searched last. Documents with schedules are also compared by their content, a page
at a time, because another program may change neither.
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from database.clock import Clock, to_text
from database.connection.engines import byte_length, insert_of
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.inline_workflows import is_saved
from database.foreign_values import as_text_column, required_text_of, text_of
from database.schedules.records import FoundSchedule, WorkflowSchedules, WorkflowVersion
from database.tables import schedules, workflow_versions, workflows

MAX_CHANGED_WORKFLOWS = 50
"""Maximum number of workflows that one search returns."""
COMPARED_DOCUMENTS = 50
"""Number of documents with schedules whose content is compared at once."""
_VERSION = "orchestrator_schedules_version"
"""Key of a connection's ``info``: the last ``data_version`` of the file that it read."""
_HAS_OCTET_LENGTH = sqlite3.sqlite_version_info >= (3, 43)
_none: ColumnElement[str] = literal_column("''", Text)
_updated: ColumnElement[str] = func.coalesce(as_text_column(workflows.c.updatedAt), _none)


@dataclass(frozen=True, slots=True)
class ChangedWorkflows:
    """Workflows that were added, changed or deleted since the last search."""

    changed: Sequence[WorkflowVersion]
    deleted: Sequence[str]

    @property
    def may_have_more(self) -> bool:
        """Return whether further workflows may have changed."""
        return MAX_CHANGED_WORKFLOWS in (len(self.changed), len(self.deleted))


class ScheduleDetection:
    """Finds changed workflows and stores their schedules."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def has_changes(self) -> bool:
        """Return whether any program has changed the database since this was last called.

        On PostgreSQL, the result is always true, because it has no such counter.
        """

        def read(connection: Connection) -> bool:
            if connection.dialect.name != "sqlite":
                return True
            version = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
            known = connection.info.get(_VERSION)
            connection.info[_VERSION] = version
            return version != known

        return await self._reader.run(read)

    async def changed_workflows(self) -> ChangedWorkflows:
        """Return workflows whose ``updatedAt`` or size differs from the searched version."""

        def read(connection: Connection) -> ChangedWorkflows:
            size = _size(connection)
            changed = (
                select(
                    workflows.c.id,
                    _updated.label("updated"),
                    size.label("size"),
                    _document_with_schedules(connection),
                )
                .outerjoin(workflow_versions, workflow_versions.c.workflowId == workflows.c.id)
                .where(
                    is_saved(),
                    _has_usable_id(connection),
                    or_(
                        workflow_versions.c.workflowId.is_(None),
                        workflow_versions.c.updatedAt != _updated,
                        workflow_versions.c.size != size,
                    ),
                )
                .limit(MAX_CHANGED_WORKFLOWS)
            )
            deleted = (
                select(workflow_versions.c.workflowId)
                .outerjoin(workflows, workflows.c.id == workflow_versions.c.workflowId)
                .where(workflows.c.id.is_(None))
                .limit(MAX_CHANGED_WORKFLOWS)
            )
            return ChangedWorkflows(
                [_version_of(row) for row in connection.execute(changed)],
                connection.scalars(deleted).all(),
            )

        return await self._reader.run(read)

    async def changed_documents(self, after: str) -> tuple[Sequence[WorkflowVersion], str | None]:
        """Return documents with schedules whose content has changed, of one page of workflows.

        Returns:
            The documents, and the id after which the next page begins; ``None`` after the last.
        """

        def read(connection: Connection) -> tuple[Sequence[WorkflowVersion], str | None]:
            query = (
                select(
                    workflows.c.id,
                    _updated.label("updated"),
                    _size(connection).label("size"),
                    as_text_column(workflows.c.data).label("document"),
                    workflow_versions.c.hash,
                )
                .join(workflow_versions, workflow_versions.c.workflowId == workflows.c.id)
                .where(workflow_versions.c.hash.is_not(None), workflows.c.id > after)
                .order_by(workflows.c.id)
                .limit(COMPARED_DOCUMENTS)
            )
            rows = connection.execute(query).all()
            changed = [
                _version_of(row) for row in rows if hash_of(text_of(row.document)) != row.hash
            ]
            end = rows[-1].id if len(rows) == COMPARED_DOCUMENTS else None
            return changed, end

        return await self._reader.run(read)

    async def store(
        self, searched: Sequence[WorkflowSchedules], deleted: Collection[str] = ()
    ) -> None:
        """Store the schedules of changed workflows; delete those of deleted workflows.

        A schedule whose settings have not changed keeps its next instant. A paused one stays so.
        """

        def write(connection: Connection) -> None:
            now = to_text(self._clock())
            if deleted:
                for table in (schedules, workflow_versions):
                    gone = select(workflows.c.id).where(workflows.c.id == table.c.workflowId)
                    connection.execute(
                        delete(table).where(table.c.workflowId.in_(deleted), ~gone.exists())
                    )
            for workflow in searched:
                _store_version(connection, workflow)
                _store_schedules(connection, workflow, now)

        await self._writer.run(write)


def hash_of(document: str | None) -> str | None:
    """Return the hash of a document."""
    return None if document is None else sha256(document.encode("utf-8", "replace")).hexdigest()


def _size(connection: Connection) -> ColumnElement[int]:
    """Return the size of a document; SQLite reads it without the document if it can."""
    if connection.dialect.name == "sqlite" and _HAS_OCTET_LENGTH:
        return func.octet_length(workflows.c.data)
    return byte_length(connection, workflows.c.data)


def _has_usable_id(connection: Connection) -> ColumnElement[bool]:
    """Return the condition for ids that equal their copy; SQLite stores any value as an id."""
    if connection.dialect.name == "sqlite":
        return func.typeof(workflows.c.id) == "text"
    return workflows.c.id.is_not(None)


def _document_with_schedules(connection: Connection) -> ColumnElement[Any]:
    document = as_text_column(workflows.c.data)
    find = func.instr if connection.dialect.name == "sqlite" else func.strpos
    return case((find(document, "schedule") > 0, document)).label("document")


def _version_of(row: Any) -> WorkflowVersion:
    return WorkflowVersion(
        required_text_of(row.id), required_text_of(row.updated), row.size, text_of(row.document)
    )


def _store_version(connection: Connection, workflow: WorkflowSchedules) -> None:
    version = workflow.version
    values = {"updatedAt": version.updated_at, "size": version.size, "hash": workflow.hash}
    statement = insert_of(connection.dialect.name)(workflow_versions).values(
        workflowId=version.workflow_id, **values
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["workflowId"], set_=values))


def _store_schedules(connection: Connection, workflow: WorkflowSchedules, now: str) -> None:
    workflow_id = workflow.version.workflow_id
    of_workflow = schedules.c.workflowId == workflow_id
    rows = connection.execute(select(schedules).where(of_workflow).with_for_update()).all()
    known = {row.id: row for row in rows}
    kept = {found.id for found in workflow.found}
    if removed := known.keys() - kept:
        connection.execute(delete(schedules).where(schedules.c.id.in_(removed)))
    for found in workflow.found:
        row = known.get(found.id)
        if row is None:
            connection.execute(insert(schedules).values(**_new_row(workflow_id, found, now)))
        elif (row.settings, row.error) != (found.settings, found.error):
            connection.execute(
                update(schedules)
                .where(schedules.c.id == found.id)
                .values(
                    settings=found.settings,
                    error=found.error,
                    nextAt=found.next.next_at,
                    dueAt=found.next.due_at if row.pausedAt is None else None,
                    handledAt=now,
                    blockedBy=None,
                )
            )


def _new_row(workflow_id: str, found: FoundSchedule, now: str) -> dict[str, str | None]:
    return {
        "id": found.id,
        "workflowId": workflow_id,
        "nodeId": found.node_id,
        "settings": found.settings,
        "error": found.error,
        "nextAt": found.next.next_at,
        "dueAt": found.next.due_at,
        "handledAt": now,
        "createdAt": now,
    }
