"""The composition root: settings in, the FastAPI application out."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from fastapi import Depends, FastAPI
from fastapi_standalone_docs import StandaloneDocs  # pyright: ignore[reportMissingTypeStubs]
from pydantic import SecretStr

from api.access_log import AccessLogMiddleware
from api.auth.api_keys import read_keys
from api.auth.browsers import BrowserProtectionMiddleware, BrowserRules
from api.auth.middleware import SECURITY_SCHEMES, Authenticator, AuthMiddleware
from api.auth.origins import parse_hosts, parse_origins
from api.auth.tenancy import require_tenant_access
from api.auth.tokens import Tokens
from api.bodies.strict_json import BodyLimits
from api.bodies.webhook_payload import WebhookLimits
from api.dependencies import Services
from api.errors import add_error_handlers
from api.middleware import (
    RequestBodyLimitMiddleware,
    SecurityHeadersMiddleware,
    UnexpectedErrorMiddleware,
)
from api.openapi.document import DESCRIPTION, STORAGE_ERROR_STATUSES, TAGS, OpenApiApp
from api.query_names import reject_misspelled_parameters
from api.routes import (
    executions,
    listings,
    nodes,
    service,
    streams,
    validation,
    webhooks,
    websocket,
    workflows,
)
from api.routes import (
    node_types as node_type_routes,
)
from api.schemas.executions import ProblemDetails
from api.streaming.broadcaster import EventBroadcaster
from config import ROOT, Settings, SettingsError, load_secrets
from credentials import mask_credentials
from database import Database, ExampleWorkflow, utc_now
from database.connection.urls import read_address
from database.encryption import DataEncryption
from engine.json_values import encode_json
from engine.limits import DocumentLimits, RunLimits
from flows.callbacks.dispatcher import CallbackSettings
from flows.intake.submissions import SubmissionService
from flows.prefect_adapter.environment import is_embedded
from flows.prefect_adapter.secrets import fetch_secret
from flows.worker.worker import Worker, WorkerSettings
from tasks.code.node import CODE_NODE_DISABLED_MESSAGE
from tasks.context import HandlerSettings
from tasks.http.client import parse_url
from tasks.http.ssrf_guard import parse_allowed_hosts
from tasks.registry import DEFAULT, NodeTypes
from tasks.secrets import Secrets
from version import VERSION

log = structlog.get_logger()

EXAMPLES = ROOT / "examples"


def create_app(settings: Settings, node_types: NodeTypes = DEFAULT) -> FastAPI:
    """The service as an ASGI application. Its lifespan opens the database and runs executions.

    Raises:
        SettingsError: a setting has a value that it cannot have.
        KeysError: ``API_KEYS`` or ``API_KEYS_FILE`` holds an entry that is no key.
    """
    mask_credentials(settings)
    access = authenticator_of(settings)
    for_worker = worker_settings(settings)
    types = (
        node_types
        if settings.enable_code_node
        else node_types.without({"code": CODE_NODE_DISABLED_MESSAGE})
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        database = Database(settings.url, encryption=data_encryption_of(settings))
        hub = EventBroadcaster(database, settings.poll_interval_seconds)
        worker = Worker(for_worker, types, database, hub.publish)
        try:
            await database.prepare(example_workflows())
            await asyncio.wrap_future(worker.start())
            submissions = SubmissionService(
                database,
                types,
                worker,
                settings.max_pending_executions,
                settings.pending_per_organization,
                for_worker.document_limits,
            )
            app.state.services = Services(
                database,
                worker,
                submissions,
                hub,
                settings.lease_seconds,
                settings.webhook_response_timeout_seconds,
                access,
                WebhookLimits(settings.max_webhook_body_bytes, settings.max_webhook_form_fields),
                settings.max_logs_page_size,
                settings.max_response_characters,
            )
            log.info("service_started", version=VERSION)
            yield
            log.info("service_stopping")
            await worker.stop(settings.shutdown_grace_seconds)
        finally:
            await database.close()
        log.info("service_stopped")

    app = OpenApiApp(
        title="Workflow Orchestration Service",
        version=VERSION,
        summary="Runs workflows in the background and tells how they go.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.body_limits = BodyLimits(settings.max_request_body_bytes, settings.max_body_values)
    StandaloneDocs(app)  # else whoever opens /docs fetches scripts from somewhere else
    # From the inside out: what is added last is asked first.
    app.add_middleware(
        RequestBodyLimitMiddleware,
        most=settings.max_request_body_bytes,
        seconds=settings.request_body_timeout_seconds,
    )
    app.add_middleware(AuthMiddleware, access=access)
    app.add_middleware(UnexpectedErrorMiddleware)
    app.add_middleware(
        BrowserProtectionMiddleware, rules=browser_rules(settings, is_open=access.open)
    )
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(AccessLogMiddleware)
    add_error_handlers(app)
    # What is asked of a route here holds for the next one too.
    asked = [
        Depends(reject_misspelled_parameters),
        Depends(require_tenant_access),
        *([] if access.open else SECURITY_SCHEMES),
    ]
    refusals = (
        (413, 421, *STORAGE_ERROR_STATUSES)
        if access.open
        else (401, 403, 413, *STORAGE_ERROR_STATUSES)
    )
    of_service = (413, 421) if access.open else (413,)
    # webhooks have secrets of their own
    for resource, statuses in ((service, of_service), (webhooks, (413,))):
        app.include_router(
            resource.router, responses={status: {"model": ProblemDetails} for status in statuses}
        )
    for resource in (executions, validation, listings, workflows, nodes, node_type_routes, streams):
        app.include_router(
            resource.router,
            dependencies=asked,
            responses={status: {"model": ProblemDetails} for status in refusals},
        )
    app.include_router(websocket.router)  # it asks by itself
    return app


async def prepare_database(settings: Settings) -> None:
    """Opens the database once and brings its schema up to date, before anything is served.

    Raises:
        StorageError: the service cannot start with it; the message says why.
    """
    database = Database(settings.url)
    try:
        if await database.prepare(example_workflows()):
            log.info("database_created")
    finally:
        await database.close()


def authenticator_of(settings: Settings) -> Authenticator:
    """Who may come in, by the settings.

    Raises:
        KeysError: ``API_KEYS`` or ``API_KEYS_FILE`` holds an entry that is no key.
    """
    secret = settings.token_secret
    # Not derived from the hashes of keys: who reads those must not be able to make tokens.
    signs = secret.get_secret_value() if secret else secrets.token_urlsafe(32)
    return Authenticator(
        read_keys(settings.key_entries, settings.api_keys_file),
        Tokens(signs, settings.token_ttl_seconds, utc_now),
    )


def browser_rules(settings: Settings, *, is_open: bool) -> BrowserRules:
    """Return which hosts and pages may call the service.

    Raises:
        SettingsError: If ``CORS_ORIGINS`` or ``ALLOWED_HOSTS`` has an invalid entry.
    """
    try:
        origins = parse_origins(settings.cors_origins)
    except ValueError as error:
        raise SettingsError(f"CORS_ORIGINS: {error}") from None
    try:
        hosts = parse_hosts(settings.allowed_hosts)
    except ValueError as error:
        raise SettingsError(f"ALLOWED_HOSTS: {error}") from None
    return BrowserRules(origins, hosts if is_open else None)


def worker_settings(settings: Settings) -> WorkerSettings:
    """What the runner needs of the settings.

    Raises:
        SettingsError: one of them cannot be used.
    """
    key, secret = settings.openai_api_key, settings.callback_signing_secret
    handlers = HandlerSettings(
        openai_api_key=key.get_secret_value() if key else None,
        openai_base_url=settings.openai_base_url,
        llm_model=settings.llm_model,
        llm_timeout_seconds=settings.llm_timeout_seconds,
        http_timeout_seconds=settings.http_timeout_seconds,
        secrets=Secrets(
            load_secrets(settings),
            None if is_embedded(settings.prefect_api_url) else fetch_secret,
        ),
        http_allow_private_networks=settings.http_allow_private_networks,
        http_allow_host_header=settings.http_allow_host_header,
        http_allowed_hosts=_checked_hosts(settings.http_allowed_hosts),
        http_max_response_bytes=settings.http_max_response_bytes,
        http_max_redirects=settings.http_max_redirects,
        max_retry_after_seconds=settings.max_retry_after_seconds,
        http_proxy_url=_checked_proxy(settings.http_proxy_url),
        enable_code_node=settings.enable_code_node,
        code_timeout_seconds=settings.code_timeout_seconds,
        code_memory_mb=settings.code_memory_mb,
        max_node_result_bytes=settings.max_node_result_bytes,
        max_template_read_bytes=settings.max_template_read_bytes,
    )
    return WorkerSettings(
        max_concurrent_executions=settings.max_concurrent_executions,
        max_recovery_attempts=settings.max_recovery_attempts,
        max_subworkflow_depth=settings.max_subworkflow_depth,
        max_subworkflow_executions=settings.max_subworkflow_executions,
        max_concurrent_node_previews=settings.max_concurrent_node_previews,
        document_limits=DocumentLimits(
            settings.max_workflow_nodes, settings.max_workflow_connections
        ),
        run_limits=RunLimits(
            settings.max_node_result_bytes,
            settings.max_execution_bytes,
            settings.max_concurrent_nodes,
        ),
        execution_timeout_seconds=settings.execution_timeout_seconds,
        lease_seconds=settings.lease_seconds,
        poll_interval_seconds=settings.poll_interval_seconds,
        retention_days=settings.execution_retention_days,
        retention_count=settings.execution_retention_count,
        prefect_api_url=settings.prefect_api_url,
        prefect_home=settings.prefect_home,
        handler_settings=handlers,
        callbacks=CallbackSettings(
            secret=secret.get_secret_value() if secret else None,
            timeout_seconds=settings.callback_timeout_seconds,
            calls=handlers,
        ),
    )


def data_encryption_of(settings: Settings) -> DataEncryption:
    """What seals the data of nodes that hide it; its key file lies beside the database."""
    key = settings.data_encryption_key
    file = read_address(settings.url).file
    return DataEncryption(
        key.get_secret_value() if key else None,
        None if file is None else file.with_name(f"{file.name}.key"),
    )


def _checked_hosts(text: str | None) -> str:
    if text is None:
        return ""
    try:
        parse_allowed_hosts(text)
    except ValueError as error:
        raise SettingsError(f"HTTP_ALLOWED_HOSTS={text!r}: {error}") from None
    return text


def _checked_proxy(url: SecretStr | None) -> str | None:
    if url is None:
        return None
    try:
        parse_url(url.get_secret_value())
    except ValueError as error:  # the value may hold a password
        raise SettingsError(f"HTTP_PROXY_URL {error}") from None
    return url.get_secret_value()


def example_workflows() -> list[ExampleWorkflow]:
    """The workflows of ``examples/``, for a database that is new."""
    found: list[ExampleWorkflow] = []
    for path in sorted(EXAMPLES.glob("*.json")):
        example = json.loads(path.read_text(encoding="utf-8"))
        tags = example.get("tags")
        found.append(
            ExampleWorkflow(
                example["id"],
                example["name"],
                encode_json(example["data"]),
                None if tags is None else encode_json(tags),
            )
        )
    return found
