"""Saved workflows: stores workflows for installations without the main project.

An update of a row that the main project wrote only changes ``name``, ``data``, ``tags`` and
``updatedAt``.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from database.clock import Clock, to_text
from database.connection.engines import is_foreign_key_violation
from database.connection.reader import Reader
from database.connection.writer import Writer
from database.executions.completion import cancel, notify_parents, relatives_of_deleted
from database.executions.inline_workflows import is_saved
from database.maintenance.retention import delete_executions
from database.queries.executions import read_workflow
from database.records import Workflow, WorkflowChange
from database.tables import executions, runs, workflows
from engine.errors import (
    PreconditionFailedError,
    StorageUnavailableError,
    UnknownOrganizationError,
    WorkflowExistsError,
    WorkflowInUseError,
)
from engine.json_values import encode_json
from engine.status import OPEN, ExecutionStatus

_SERVICE_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)

Versions = Collection[str] | None
"""Versions that a change accepts; ``None`` accepts all."""


def version_of(workflow: Workflow) -> str:
    """Return the version of a workflow: its ``updatedAt``, or a hash of the row.

    The hash is for rows whose ``updatedAt`` was stored by another program, because two changes of
    such a row may have the same timestamp.
    """
    if workflow.updated_at is not None and _SERVICE_TIMESTAMP.fullmatch(workflow.updated_at):
        return workflow.updated_at
    parts = [workflow.name, workflow.data, workflow.tags, workflow.updated_at]
    return sha256(encode_json(parts).encode()).hexdigest()


class SavedWorkflows:
    """Creates, reads, updates and deletes rows of ``workflows``, each in one transaction."""

    def __init__(self, reader: Reader, writer: Writer, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    async def read(self, workflow_id: str) -> Workflow:
        """Return a workflow.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
        """
        return await self._reader.run(
            lambda connection: read_workflow(connection, workflow_id, is_saved())
        )

    async def create(
        self, workflow_id: str, organization_id: str | None, content: WorkflowChange
    ) -> Workflow:
        """Store a new workflow and return it.

        Raises:
            WorkflowExistsError: If a workflow with this id exists.
            UnknownOrganizationError: If the organization does not exist in the main project.
            StorageError: If the database is unavailable; nothing is stored.
        """

        def write(connection: Connection) -> Workflow:
            now = to_text(self._clock())
            existing = select(workflows.c.id).where(workflows.c.id == workflow_id)
            if connection.scalar(existing) is not None:
                raise WorkflowExistsError(workflow_id)
            created = Workflow(
                workflow_id, content.name, content.data, organization_id, content.tags, now, now
            )
            connection.execute(
                workflows.insert().values(
                    id=created.id,
                    organizationId=created.organization_id,
                    name=created.name,
                    data=created.data,
                    tags=created.tags,
                    createdAt=now,
                    updatedAt=now,
                )
            )
            return created

        try:
            return await self._writer.run(write)
        except IntegrityError as error:
            if is_foreign_key_violation(error) and organization_id is not None:
                raise UnknownOrganizationError(organization_id) from None
            if "not null" in str(error.orig).lower():
                reason = f"The table 'workflows' rejects the row: {error.orig}"
                raise StorageUnavailableError(reason) from None
            raise WorkflowExistsError(workflow_id) from None  # created after the check

    async def update(
        self, workflow_id: str, change: WorkflowChange, versions: Versions = None
    ) -> Workflow:
        """Store ``change`` and return the workflow.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
            PreconditionFailedError: If its version is not one of ``versions``.
            StorageError: If the database is unavailable; nothing is stored.
        """

        def write(connection: Connection) -> Workflow:
            before = read_workflow(connection, workflow_id, is_saved(), lock=True)
            _require_version(before, versions)
            tags = before.tags if change.keep_tags else change.tags
            updated_at = self._next_timestamp(before.updated_at)
            connection.execute(
                update(workflows)
                .where(workflows.c.id == workflow_id)
                .values(name=change.name, data=change.data, tags=tags, updatedAt=updated_at)
            )
            return replace(
                before, name=change.name, data=change.data, tags=tags, updated_at=updated_at
            )

        return await self._writer.run(write)

    def _next_timestamp(self, before: str | None) -> str:
        """Return now, or a millisecond after ``before``, so that each state of a row is unique."""
        now = to_text(self._clock())
        if before is None or not _SERVICE_TIMESTAMP.fullmatch(before) or before < now:
            return now
        try:
            return to_text(datetime.fromisoformat(before) + timedelta(milliseconds=1))
        except (ValueError, OverflowError):
            return now  # an invalid date, or the last one that exists

    async def delete(
        self, workflow_id: str, versions: Versions = None, *, force: bool = False
    ) -> Sequence[str]:
        """Delete a workflow and its ended executions; with ``force``, all its executions.

        Returns:
            The ids of executions that an owner must stop.

        Raises:
            WorkflowNotFoundError: If the workflow does not exist.
            PreconditionFailedError: If its version is not one of ``versions``.
            WorkflowInUseError: If executions of it have not ended, without ``force``.
            StorageError: If the database is unavailable; nothing is deleted.
        """
        of_workflow = executions.c.workflowId == workflow_id
        status = func.coalesce(executions.c.status, ExecutionStatus.PENDING)
        unended = select(func.count()).select_from(executions).where(of_workflow, status.in_(OPEN))
        owned = (
            select(runs.c.executionId)
            .join(executions, executions.c.id == runs.c.executionId)
            .where(of_workflow, runs.c.owner.is_not(None))
        )

        def write(connection: Connection) -> Sequence[str]:
            # Locked, so that no execution of it can be stored between the check and the deletion.
            _require_version(
                read_workflow(connection, workflow_id, is_saved(), lock=True), versions
            )
            count = connection.execute(unended).scalar_one()
            if count and not force:
                raise WorkflowInUseError(workflow_id, count)
            now = to_text(self._clock())
            running = connection.scalars(owned).all()
            deleted = select(executions.c.id).where(of_workflow)
            called, calling = relatives_of_deleted(connection, deleted)
            stopped = cancel(connection, calling, now)
            delete_executions(connection, deleted)
            notify_parents(connection, called, now)
            connection.execute(delete(workflows).where(workflows.c.id == workflow_id))
            return [*running, *stopped]

        return await self._writer.run(write)


def _require_version(workflow: Workflow, versions: Versions) -> None:
    version = version_of(workflow)
    if versions is not None and version not in versions:
        raise PreconditionFailedError(workflow.id, version)
