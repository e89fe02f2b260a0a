"""Tenant isolation: limits a caller to the organization of its key or the execution of its token.

The response for a resource of another tenant equals the response for one that does not exist.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.auth.callers import Caller
from api.schemas.workflows import FIXED_PATHS
from database.queries.executions import ExecutionQueries
from engine.errors import ExecutionNotFoundError, ForbiddenError, WorkflowNotFoundError

WORKFLOW_PATH = "/api/workflows/{workflow_id}"
"""Path of a workflow, which also matches the fixed paths next to it."""

EXECUTION_PATH = "/api/executions/{execution_id}"
"""Path of an execution, which also matches that of bulk operations."""


@dataclass(frozen=True, slots=True)
class TenantScope:
    """The resources that one caller can access. Costs no query for a key of all organizations."""

    caller: Caller
    executions: ExecutionQueries

    def organization(self, requested: str | None) -> str | None:
        """Return the organization of a request: the requested one, or that of the caller's key.

        Raises:
            ForbiddenError: If the key is for another organization, or the caller has a token.
        """
        own = self.caller.organization_id
        if self.caller.execution_id is not None:
            raise ForbiddenError("A token reads only the execution that it was created for")
        if own is None:
            return requested
        if requested is not None and requested != own:
            reason = f"The key '{self.caller.name}' is not for the organization '{requested}'"
            raise ForbiddenError(reason)
        return own

    async def require_execution(self, execution_id: str) -> None:
        """Check that the caller can access an execution.

        Raises:
            ExecutionNotFoundError: If the caller cannot, or the execution does not exist.
        """
        allowed_id, own = self.caller.execution_id, self.caller.organization_id
        # PostgreSQL rejects a parameter with a NUL character.
        if "\0" in execution_id or (allowed_id is not None and allowed_id != execution_id):
            raise ExecutionNotFoundError(execution_id)
        if own is not None and await self.executions.organization_of(execution_id) != own:
            raise ExecutionNotFoundError(execution_id)

    async def require_workflow(self, workflow_id: str) -> None:
        """Check that the caller can access a workflow.

        Raises:
            WorkflowNotFoundError: If the caller cannot, or the workflow does not exist.
        """
        own = self.caller.organization_id
        if own is None:
            return
        if (await self.executions.workflow(workflow_id)).organization_id != own:
            raise WorkflowNotFoundError(workflow_id)


async def _scope(connection: HTTPConnection) -> TenantScope:
    executions: ExecutionQueries = connection.app.state.services.database.queries
    return TenantScope(connection.scope["caller"], executions)


TenantScopeDep = Annotated[TenantScope, Depends(_scope)]


async def require_tenant_access(connection: HTTPConnection, scope: TenantScopeDep) -> None:
    """Check that the caller can access the execution, workflow and organization of a request.

    Raises:
        NotFoundError: If the caller cannot access the execution or the workflow of the path.
        ForbiddenError: If the query names another organization.
        HTTPException: If the path is a fixed path, which has other methods.
    """
    parameters = connection.path_params
    if "execution_id" in parameters:
        if (
            connection.scope["route"].path == EXECUTION_PATH
            and parameters["execution_id"] == "bulk"
        ):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        await scope.require_execution(parameters["execution_id"])
    if "workflow_id" in parameters:
        workflow_id = parameters["workflow_id"]
        if connection.scope["route"].path == WORKFLOW_PATH and workflow_id in FIXED_PATHS:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        await scope.require_workflow(workflow_id)
    organization_id = connection.query_params.get("organizationId")
    if organization_id:
        scope.organization(organization_id)
