"""What the routes work with; the composition root puts it into the app's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth.middleware import Authenticator
from api.bodies.webhook_payload import WebhookLimits
from api.streaming.broadcaster import EventBroadcaster
from database import Database
from flows.intake.submissions import SubmissionService
from flows.worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the running service."""

    database: Database
    worker: Worker
    submissions: SubmissionService
    hub: EventBroadcaster
    lease_seconds: float
    webhook_response_timeout_seconds: float
    access: Authenticator
    webhook_limits: WebhookLimits
    max_logs_page_size: int
    max_response_characters: int


async def _services(request: Request) -> Services:
    return request.app.state.services


ServicesDep = Annotated[Services, Depends(_services)]
