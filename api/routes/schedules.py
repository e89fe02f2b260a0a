"""Schedule routes: list, read, pause, resume and backfill the schedules of saved workflows."""

from api.auth.tenancy import TenantScope, TenantScopeDep
from api.bodies.strict_json import StrictRoute
from api.dependencies import Services, ServicesDep
from api.pagination import encode_cursor, parse_cursor
from api.routes.base import resource_router
from api.schemas.base import ProblemDetails
from api.schemas.listings import Cursor, Limit, OrganizationFilter, WorkflowFilter
from api.schemas.schedules import (
    BackfilledInstant,
    BackfillRequest,
    BackfillResponse,
    NextCount,
    ScheduleDetailResponse,
    ScheduleResponse,
    SchedulesResponse,
)
from database.queries.results import ScheduleCursor
from database.schedules.records import Schedule
from engine.errors import WorkflowNotFoundError
from engine.request_errors import ScheduleNotFoundError

router = resource_router("/api/schedules", "schedules", StrictRoute)


@router.get("", operation_id="listSchedules", responses={422: {"model": ProblemDetails}})
async def list_schedules(
    services: ServicesDep,
    scope: TenantScopeDep,
    organization_id: OrganizationFilter = None,
    workflow_id: WorkflowFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> SchedulesResponse:
    """List schedules in the order of their workflows."""
    page = await services.schedules.page(
        scope.organization(organization_id),
        workflow_id,
        limit,
        parse_cursor(ScheduleCursor, cursor),
    )
    return SchedulesResponse(
        schedules=[ScheduleResponse.of_schedule(schedule) for schedule in page.items],
        next_cursor=encode_cursor(page.end),
    )


@router.get(
    "/{schedule_id}",
    operation_id="getSchedule",
    responses={status: {"model": ProblemDetails} for status in (404, 422)},
)
async def get_schedule(
    schedule_id: str, services: ServicesDep, scope: TenantScopeDep, count: NextCount = 10
) -> ScheduleDetailResponse:
    """Return a schedule with its next instants."""
    schedule = await _accessible(schedule_id, services, scope)
    return ScheduleDetailResponse.of_instants(
        schedule, services.schedules.next_instants(schedule, count)
    )


@router.post(
    "/{schedule_id}/pause",
    operation_id="pauseSchedule",
    responses={404: {"model": ProblemDetails}},
)
async def pause_schedule(
    schedule_id: str, services: ServicesDep, scope: TenantScopeDep
) -> ScheduleResponse:
    """Pause a schedule; it starts nothing until it is resumed."""
    await _accessible(schedule_id, services, scope)
    return ScheduleResponse.of_schedule(
        await services.schedules.set_paused(schedule_id, paused=True)
    )


@router.post(
    "/{schedule_id}/resume",
    operation_id="resumeSchedule",
    responses={404: {"model": ProblemDetails}},
)
async def resume_schedule(
    schedule_id: str, services: ServicesDep, scope: TenantScopeDep
) -> ScheduleResponse:
    """Resume a schedule with its next instant; the instants of the pause are not started."""
    await _accessible(schedule_id, services, scope)
    return ScheduleResponse.of_schedule(
        await services.schedules.set_paused(schedule_id, paused=False)
    )


@router.post(
    "/{schedule_id}/backfill",
    operation_id="backfillSchedule",
    responses={status: {"model": ProblemDetails} for status in (404, 409, 422, 429)},
)
async def backfill_schedule(
    schedule_id: str, request: BackfillRequest, services: ServicesDep, scope: TenantScopeDep
) -> BackfillResponse:
    """Start an execution for each instant of an interval that has none."""
    await _accessible(schedule_id, services, scope)
    until = services.database.clock() if request.until is None else request.until
    result = await services.schedules.backfill(schedule_id, request.since, until)
    return BackfillResponse(
        schedule_id=schedule_id,
        matched=result.matched,
        executions=[
            BackfilledInstant(instant=instant.at, execution_id=instant.submission.execution_id)
            for instant in result.started
        ],
    )


async def _accessible(schedule_id: str, services: Services, scope: TenantScope) -> Schedule:
    """Return a schedule.

    Raises:
        ScheduleNotFoundError: If it does not exist, or its workflow belongs to another tenant.
    """
    schedule = await services.schedules.read(schedule_id)
    scope.organization(None)
    try:
        await scope.require_workflow(schedule.workflow_id)
    except WorkflowNotFoundError:
        raise ScheduleNotFoundError(schedule_id) from None
    return schedule
