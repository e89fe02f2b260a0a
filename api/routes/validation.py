"""Can a workflow run? The same checks as at a submission, with nothing stored."""

from collections.abc import Iterable, Sequence
from itertools import islice

from fastapi import APIRouter

from api.auth.tenancy import TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import ServicesDep
from api.schemas.executions import ProblemDetails
from api.schemas.validation import DocumentProblemResponse, ValidateRequest, ValidateResponse
from engine.errors import InvalidDocumentError
from engine.problems import MAX_PROBLEMS, Problem, and_more

router = APIRouter(prefix="/api/workflows", tags=["workflows"], route_class=StrictRoute)


@router.post(
    "/validate",
    operation_id="validateWorkflow",
    response_model_exclude_none=True,
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def validate(
    request: ValidateRequest, services: ServicesDep, scope: TenantScopeDep
) -> ValidateResponse:
    """Every reason why a document cannot run, as the 422 of its submission would tell them."""
    document = request.graph
    if request.workflow_id is not None:
        await scope.see_workflow(request.workflow_id)
        document = (await services.database.queries.workflow(request.workflow_id)).data
    try:
        warnings = await services.submissions.warnings(document)
    except InvalidDocumentError as refused:
        return ValidateResponse(
            valid=False,
            errors=_views(refused.problems),
            warnings=_views(refused.warnings),
            detail=and_more(refused.more, refused.unchecked_nodes) or None,
            more_errors=refused.more or None,
            unchecked_nodes=refused.unchecked_nodes or None,
            more_warnings=_more(refused.warnings),
        )
    return ValidateResponse(
        valid=True, errors=[], warnings=_views(warnings), more_warnings=_more(warnings)
    )


def _views(problems: Iterable[Problem]) -> list[DocumentProblemResponse]:
    first = islice(problems, MAX_PROBLEMS)
    return [DocumentProblemResponse.model_validate(problem.as_json()) for problem in first]


def _more(problems: Sequence[Problem]) -> int | None:
    return len(problems[MAX_PROBLEMS:]) or None
