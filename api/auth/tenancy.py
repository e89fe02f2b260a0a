"""How far a caller sees: the organization of its key, or the one execution of its token.

What lies beyond is answered like what does not exist.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.auth.middleware import Caller
from api.schemas.workflows import is_own_path
from database.queries.executions import ExecutionQueries
from engine.errors import ExecutionNotFoundError, ForbiddenError, WorkflowNotFoundError

ONE_WORKFLOW = "/api/workflows/{workflow_id:path}"
"""The path of a workflow, which matches other paths too."""


@dataclass(frozen=True, slots=True)
class TenantScope:
    """What one caller may see. For a key of all organizations no question costs anything."""

    caller: Caller
    queries: ExecutionQueries

    def organization(self, asked: str | None) -> str | None:
        """The organization that a request is about; without one asked for, the caller's own.

        Raises:
            ForbiddenError: it asks for another one, or has a token, which is for none.
        """
        mine = self.caller.organization_id
        if self.caller.execution_id is not None:
            raise ForbiddenError("A token reads the one execution that it was made for")
        if mine is None:
            return asked
        if asked is not None and asked != mine:
            reason = f"The key '{self.caller.name}' is not for the organization '{asked}'"
            raise ForbiddenError(reason)
        return mine

    async def see_execution(self, execution_id: str) -> None:
        """Looks whether the caller may see an execution.

        Raises:
            ExecutionNotFoundError: it may not, or there is none.
        """
        only, mine = self.caller.execution_id, self.caller.organization_id
        # PostgreSQL would not even be asked for a text with a NUL character.
        if "\0" in execution_id or (only is not None and only != execution_id):
            raise ExecutionNotFoundError(execution_id)
        if mine is not None and await self.queries.organization_of(execution_id) != mine:
            raise ExecutionNotFoundError(execution_id)

    async def see_workflow(self, workflow_id: str) -> None:
        """Looks whether the caller may see a workflow.

        Raises:
            WorkflowNotFoundError: it may not, or there is none.
        """
        mine = self.caller.organization_id
        if mine is None:
            return
        if (await self.queries.workflow(workflow_id)).organization_id != mine:
            raise WorkflowNotFoundError(workflow_id)


async def _scope(connection: HTTPConnection) -> TenantScope:
    queries: ExecutionQueries = connection.app.state.services.database.queries
    return TenantScope(connection.scope["caller"], queries)


TenantScopeDep = Annotated[TenantScope, Depends(_scope)]


async def require_tenant_access(connection: HTTPConnection, scope: TenantScopeDep) -> None:
    """For every route: the execution or workflow of its path must be one that the caller sees.

    Raises:
        NotFoundError: it is not.
        ForbiddenError: the query names another organization.
        HTTPException: the path is one of the interface's own, which has other methods.
    """
    places = connection.path_params
    if "execution_id" in places:
        await scope.see_execution(places["execution_id"])
    if "workflow_id" in places:
        if connection.scope["route"].path == ONE_WORKFLOW and is_own_path(places["workflow_id"]):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        await scope.see_workflow(places["workflow_id"])
    asked = connection.query_params.get("organizationId")
    if asked:
        scope.organization(asked)
