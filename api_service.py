"""Composition root: creates the FastAPI application from the settings."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog
from fastapi import FastAPI
from fastapi_standalone_docs import StandaloneDocs  # pyright: ignore[reportMissingTypeStubs]

from api.access_log import AccessLogMiddleware
from api.auth.api_keys import read_keys
from api.auth.browsers import BrowserProtectionMiddleware, BrowserRules
from api.auth.callers import Authenticator
from api.auth.middleware import AuthMiddleware
from api.auth.origins import parse_hosts, parse_origins
from api.auth.tokens import Tokens
from api.bodies.strict_json import BodyLimits
from api.bodies.webhook_payload import WebhookLimits
from api.dependencies import Services
from api.errors import add_error_handlers
from api.middleware import (
    RequestBodyLimitMiddleware,
    RequestOriginMiddleware,
    SecurityHeadersMiddleware,
    UnexpectedErrorMiddleware,
)
from api.openapi.document import DESCRIPTION, TAGS, OpenApiApp
from api.readiness import Readiness
from api.routes import (
    attempts,
    executions,
    external_events,
    failures,
    human_tasks,
    listings,
    metrics,
    model_usage,
    nodes,
    schedules,
    service,
    streams,
    task_page,
    ui,
    webhooks,
    websocket,
    workflows,
)
from api.routes import bulk as bulk_routes
from api.service_metrics import QueueWatch, watch_service
from api.streaming.broadcaster import EventBroadcaster
from config import Settings, otel_variables
from credentials import mask_credentials
from database import Database, utc_now
from database.connection.commit_signal import Change
from flows.intake.bulk import BulkService
from flows.intake.external_events import EventLimits, EventService
from flows.intake.human_tasks import TaskService
from flows.intake.reruns import RerunService
from flows.intake.submissions import SubmissionService
from flows.nodes.node_runner import NodeRunner
from flows.nodes.preview import NodePreviews
from flows.processes.process_pool import ProcessPool
from flows.schedules.documents import ScheduledDocuments
from flows.schedules.service import ScheduleService
from flows.worker.roles import WorkerRole
from flows.worker.worker import Worker
from metric_families import Family
from metrics import Metrics
from setting_types import prices_of
from tasks.masking import secret_masker
from tasks.registry import DEFAULT, NodeTypes
from tracing import start_tracing, stop_tracing
from version import VERSION
from worker_setup import (
    checked,
    database_of,
    enabled_node_types,
    example_workflows,
    pending_limits_of_schedules,
    revealed,
    settings_of_executors,
    worker_settings,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = structlog.get_logger()

_RESOURCES = (
    service,
    ui,
    webhooks,
    attempts,
    bulk_routes,
    executions,
    external_events,
    failures,
    human_tasks,
    task_page,
    listings,
    model_usage,
    workflows,
    schedules,
    nodes,
    streams,
    metrics,
    websocket,
)
"""The modules of the routes."""

T = TypeVar("T", bound="DataclassInstance")
V = TypeVar("V")


def create_app(settings: Settings, node_types: NodeTypes = DEFAULT) -> FastAPI:
    """Return the service as an ASGI application. Its lifespan runs the worker.

    Raises:
        SettingsError: If a setting has an invalid value.
        KeysError: If ``API_KEYS`` or ``API_KEYS_FILE`` contains an invalid entry.
    """
    mask_credentials(settings)
    authenticator = authenticator_of(settings)
    settings_of_worker = worker_settings(settings)
    execution_settings = settings_of_executors(settings)
    types = enabled_node_types(settings, node_types)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        measured = Metrics(types.known)
        database = database_of(settings, types, measured.database_used)
        broadcaster = EventBroadcaster(database, settings.poll_interval_seconds)
        executors = None
        if execution_settings:
            executors = ProcessPool(
                execution_settings,
                broadcaster.publish,
                lambda: database.commit_signal.send({Change.EVENTS}),
            )
        worker = Worker(
            settings_of_worker,
            types,
            database,
            broadcaster.publish,
            measured,
            WorkerRole(executors=executors),
        )

        async def executor_families() -> Sequence[Family]:
            if executors is None:
                return ()
            return await asyncio.wrap_future(worker.submit(executors.families))

        queue_watch = QueueWatch(database)
        watch_service(measured, broadcaster, queue_watch)
        start_tracing(otel_variables(), secret_masker.mask_truncated)
        background = [asyncio.create_task(measured.measure_loop_lag_forever("http"))]
        try:
            await database.prepare(example_workflows())
            await asyncio.wrap_future(worker.start())
            submissions = SubmissionService(
                database,
                types,
                worker,
                settings.max_pending_executions,
                settings.pending_per_organization,
                settings_of_worker.document_limits,
            )
            node_runner = NodeRunner(
                types,
                settings_of_worker.handler_settings,
                limits=settings_of_worker.run_limits,
            )
            app.state.services = Services(
                database,
                worker,
                NodePreviews(
                    worker.submit,
                    node_runner,
                    settings.max_concurrent_node_previews,
                    executors and executors.run_preview,
                ),
                submissions,
                broadcaster,
                settings.lease_seconds,
                settings.webhook_response_timeout_seconds,
                authenticator,
                WebhookLimits(settings.max_webhook_body_bytes, settings.max_webhook_form_fields),
                settings.max_logs_page_size,
                settings.max_response_characters,
                Readiness(
                    database,
                    worker,
                    lambda: broadcaster.closing,
                    lambda: executors and executors.failure,
                ),
                measured,
                queue_watch,
                ScheduleService(
                    database,
                    ScheduledDocuments(types, settings_of_worker.document_limits),
                    pending_limits_of_schedules(settings),
                    worker.wake,
                ),
                BulkService(
                    RerunService(submissions),
                    pending_limits_of_schedules(settings),
                    settings.poll_interval_seconds,
                    settings.lease_seconds,
                ),
                executor_families,
                TaskService(database, worker.notify_resumed),
                EventService(database, event_limits(settings)),
                {} if settings.llm_prices is None else prices_of(settings.llm_prices),
            )
            background.append(asyncio.create_task(app.state.services.bulk.run_forever()))
            log.info("service_started", version=VERSION)
            yield
            log.info("service_stopping")
            await _cancel(background)
            await worker.stop(settings.shutdown_grace_seconds)
        finally:
            await _cancel(background)
            await stop_tracing()
            await database.close()
        log.info("service_stopped")

    app = OpenApiApp(
        is_open=authenticator.is_open,
        title="Workflow Orchestration Service",
        version=VERSION,
        summary="Runs workflows in the background and reports their progress.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.body_limits = BodyLimits(settings.max_request_body_bytes, settings.max_body_values)
    StandaloneDocs(app)  # serves the scripts of /docs, so that browsers load none from a CDN
    # The middleware that is added last is the outermost.
    app.add_middleware(
        RequestBodyLimitMiddleware,
        max_bytes=settings.max_request_body_bytes,
        timeout_seconds=settings.request_body_timeout_seconds,
    )
    app.add_middleware(AuthMiddleware, authenticator=authenticator)
    app.add_middleware(RequestOriginMiddleware)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(
        BrowserProtectionMiddleware, rules=browser_rules(settings, is_open=authenticator.is_open)
    )
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(AccessLogMiddleware)
    add_error_handlers(app)
    for resource in _RESOURCES:
        # ``include_router`` would make FastAPI derive the validators of all routes again.
        app.router.routes.extend(resource.router.routes)
    return app


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def event_limits(settings: Settings) -> EventLimits:
    """Return the limits of events from outside."""
    return EventLimits(
        settings.event_retention_seconds, settings.max_kept_events, settings.max_event_bytes
    )


async def prepare_database(settings: Settings) -> None:
    """Create or migrate the database, before the service accepts requests.

    Raises:
        StorageError: If the service cannot use the database; the message contains the reason.
    """
    database = Database(settings.url)
    try:
        if await database.prepare(example_workflows()):
            log.info("database_created")
    finally:
        await database.close()


def authenticator_of(settings: Settings) -> Authenticator:
    """Return the authenticator with the API keys and the token secret of the settings.

    Raises:
        KeysError: If ``API_KEYS`` or ``API_KEYS_FILE`` contains an invalid entry.
    """
    # Not derived from the hashes of the keys, because their readers must not create tokens.
    secret = revealed(settings.token_secret) or secrets.token_urlsafe(32)
    return Authenticator(
        read_keys(settings.key_entries, settings.api_keys_file),
        Tokens(secret, settings.token_ttl_seconds, utc_now),
    )


def browser_rules(settings: Settings, *, is_open: bool) -> BrowserRules:
    """Return the hosts and origins that the service accepts.

    Raises:
        SettingsError: If ``CORS_ORIGINS`` or ``ALLOWED_HOSTS`` has an invalid entry.
    """
    origins = checked("CORS_ORIGINS: ", parse_origins, settings.cors_origins)
    hosts = checked("ALLOWED_HOSTS: ", parse_hosts, settings.allowed_hosts)
    return BrowserRules(origins, hosts if is_open else None)
