"""Route dependencies: the parts of the service that the routes use."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth.callers import Authenticator
from api.bodies.webhook_payload import WebhookLimits
from api.readiness import Readiness
from api.service_metrics import QueueWatch
from api.streaming.broadcaster import EventBroadcaster
from database import Database
from flows.intake.bulk import BulkService
from flows.intake.external_events import EventService
from flows.intake.human_tasks import TaskService
from flows.intake.submissions import SubmissionService
from flows.nodes.preview import NodePreviews
from flows.schedules.service import ScheduleService
from flows.worker.worker import Worker
from metric_families import Family
from metrics import Metrics
from setting_types import ModelPrice


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the running service; the composition root stores them in ``app.state``."""

    database: Database
    worker: Worker
    previews: NodePreviews
    submissions: SubmissionService
    broadcaster: EventBroadcaster
    lease_seconds: float
    webhook_response_timeout_seconds: float
    authenticator: Authenticator
    webhook_limits: WebhookLimits
    max_logs_page_size: int
    max_response_characters: int
    readiness: Readiness
    metrics: Metrics
    queue_watch: QueueWatch
    schedules: ScheduleService
    bulk: BulkService
    executor_families: Callable[[], Awaitable[Sequence[Family]]]
    """Returns the metrics of the execution processes."""
    human_tasks: TaskService
    events: EventService
    model_prices: Mapping[str, ModelPrice]
    """Prices by the name of the model."""


async def _services(request: Request) -> Services:
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(_services)]
