"""What the routes work with; the composition root puts it into the app's state."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth.middleware import Access
from api.bodies.webhook_payload import WebhookLimits
from api.streaming.broadcaster import Hub
from database import Database
from flows.intake.submissions import Submissions
from flows.worker.worker import Runner


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the running service."""

    database: Database
    runner: Runner
    submissions: Submissions
    hub: Hub
    lease_seconds: float
    webhook_response_timeout_seconds: float
    access: Access
    webhook_limits: WebhookLimits
    max_logs_page_size: int
    max_response_characters: int


async def _services(request: Request) -> Services:
    return request.app.state.services


UseServices = Annotated[Services, Depends(_services)]
