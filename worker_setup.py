"""Worker setup: creates the settings of a worker from the settings of the service."""

import json
import pickle
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from config import ROOT, Settings, SettingsError, load_secrets
from database import Database, ExampleWorkflow
from database.connection.measured import Observe
from database.connection.urls import asynchronous_address
from database.encryption import DataEncryption
from database.executions.failures import FailureWorkflows
from database.schedules.records import PendingLimits
from engine.errors import PermanentError, StorageUnavailableError
from engine.json_values import encode_json
from engine.limits import DocumentLimits, ExecutionLimits, NodeLimits, RunLimits
from flows.callbacks.dispatcher import CallbackSettings
from flows.intake.failure_workflows import FailureStarts, log_rejected
from flows.prefect_adapter.environment import is_embedded
from flows.prefect_adapter.secrets import fetch_secret
from flows.schedules.scheduler import SchedulerSettings
from flows.worker.state import WorkerSettings
from setting_types import connections_of, limits_of, workflow_ids_of
from start_checks import key_file_of
from tasks.code.node import CODE, CODE_NODE_DISABLED_MESSAGE, PYTHON
from tasks.context import HandlerSettings
from tasks.email.message import address_of
from tasks.http.client import parse_url
from tasks.http.ssrf_guard import parse_allowed_hosts
from tasks.registry import DEFAULT, NodeTypes
from tasks.secrets import Secrets
from tasks.smtp_settings import SmtpSettings
from tasks.sql_connections import SqlConnection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EXAMPLES = ROOT / "examples"

T = TypeVar("T", bound="DataclassInstance")
V = TypeVar("V")


def enabled_node_types(settings: Settings, node_types: NodeTypes = DEFAULT) -> NodeTypes:
    """Return the node types without those that the settings disable.

    Raises:
        SettingsError: If a limit names an unknown node type.
    """
    for name in limits_of(settings.max_concurrent_nodes_per_type or ""):
        if name not in node_types.known:
            known = ", ".join(sorted(node_types.known))
            raise SettingsError(
                f"MAX_CONCURRENT_NODES_PER_TYPE: {name!r} is not a node type; known are {known}"
            )
    if settings.enable_code_node:
        return node_types
    return node_types.without(dict.fromkeys((CODE, PYTHON), CODE_NODE_DISABLED_MESSAGE))


def worker_settings(settings: Settings) -> WorkerSettings:
    """Return the settings of the worker, its node handlers and its callbacks.

    Raises:
        SettingsError: If one of them is invalid, or a setting of the work pool is missing.
    """
    pool = _work_pool_of(settings)
    hosts, proxy = settings.http_allowed_hosts or "", revealed(settings.http_proxy_url)
    checked(f"HTTP_ALLOWED_HOSTS={hosts!r}: ", parse_allowed_hosts, hosts)
    if proxy is not None:
        checked("HTTP_PROXY_URL ", parse_url, proxy)  # not its value, which may have a password
    handlers = _settings_for(
        HandlerSettings,
        settings,
        openai_api_key=revealed(settings.openai_api_key),
        secrets=Secrets(
            load_secrets(settings),
            None if is_embedded(settings.prefect_api_url) else fetch_secret,
        ),
        http_allowed_hosts=hosts,
        http_proxy_url=proxy,
        smtp=smtp_settings_of(settings),
        sql_connections=sql_connections_of(settings),
    )
    document_limits = DocumentLimits(settings.max_workflow_nodes, settings.max_workflow_connections)
    return _settings_for(
        WorkerSettings,
        settings,
        document_limits=document_limits,
        run_limits=RunLimits(
            settings.max_node_result_bytes,
            settings.max_execution_bytes,
            settings.max_concurrent_nodes,
        ),
        execution_limits=ExecutionLimits(
            settings.max_concurrent_executions_per_workflow,
            settings.max_concurrent_executions_per_organization,
        ),
        node_limits=NodeLimits(
            limits_of(settings.max_concurrent_nodes_per_type or ""),
            limits_of(settings.max_concurrent_nodes_per_key or ""),
        ),
        prefect_work_pool=pool,
        retention_days=settings.execution_retention_days,
        retention_count=settings.execution_retention_count,
        handler_settings=handlers,
        callbacks=CallbackSettings(
            secret=revealed(settings.callback_signing_secret),
            timeout_seconds=settings.callback_timeout_seconds,
            calls=handlers,
        ),
        scheduler=SchedulerSettings(
            pending_limits_of_schedules(settings),
            settings.poll_interval_seconds,
            document_limits,
        ),
    )


def settings_of_executors(settings: Settings) -> list[bytes]:
    """Return the pickled settings of each execution process, which share the slots.

    Raises:
        SettingsError: If there are fewer slots than processes, or workers of a pool run executions.
    """
    count, slots = settings.executor_processes, settings.max_concurrent_executions
    if count == 0:
        return []
    if settings.execution_mode == "workpool":
        raise SettingsError("EXECUTOR_PROCESSES requires EXECUTION_MODE=embedded")
    if count > slots:
        raise SettingsError(
            f"EXECUTOR_PROCESSES={count} requires MAX_CONCURRENT_EXECUTIONS >= {count}, "
            f"but it is {slots}"
        )
    shares = (slots // count + (number < slots % count) for number in range(count))
    return [
        pickle.dumps(settings.model_copy(update={"max_concurrent_executions": share}))
        for share in shares
    ]


def database_of(
    settings: Settings, node_types: NodeTypes, observe: Observe | None = None
) -> Database:
    """Return the database for a process that runs executions, or accepts them."""
    starts = FailureStarts(
        node_types,
        DocumentLimits(settings.max_workflow_nodes, settings.max_workflow_connections),
    )
    of_organizations = workflow_ids_of(settings.on_failure_workflow_ids or "{}")
    return Database(
        settings.url,
        encryption=data_encryption_of(settings),
        observe=observe,
        failure_workflows=FailureWorkflows(
            starts.prepare, settings.on_failure_workflow_id, of_organizations, log_rejected
        ),
    )


def smtp_settings_of(settings: Settings) -> SmtpSettings:
    """Return the mail server of ``sendEmail`` nodes.

    Raises:
        SettingsError: If ``SMTP_FROM`` is missing or is not an address.
    """
    sender = settings.smtp_from
    if settings.smtp_host is not None and sender is None:
        raise SettingsError("SMTP_HOST requires SMTP_FROM")
    if sender is not None:
        try:
            address_of("SMTP_FROM", sender)
        except PermanentError as error:
            raise SettingsError(str(error)) from None
    return SmtpSettings(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_tls,
        settings.smtp_username,
        revealed(settings.smtp_password),
        sender,
        settings.smtp_timeout_seconds,
        settings.smtp_max_message_bytes,
    )


def sql_connections_of(settings: Settings) -> dict[str, SqlConnection]:
    """Return the databases of ``sql`` nodes by name.

    Raises:
        SettingsError: If a URL has no accepted form. The message contains no password.
    """
    if settings.sql_connections is None:
        return {}
    found: dict[str, SqlConnection] = {}
    for name, url in connections_of(settings.sql_connections).items():
        try:
            found[name] = SqlConnection(*asynchronous_address(url))
        except StorageUnavailableError as error:
            raise SettingsError(f"SQL_CONNECTIONS: '{name}': {error}") from None
    return found


def pending_limits_of_schedules(settings: Settings) -> PendingLimits:
    """Return half of the limits of the queue, so that a client always finds a place in it."""
    return PendingLimits(
        (settings.max_pending_executions + 1) // 2, (settings.pending_per_organization + 1) // 2
    )


async def register_deployment(settings: Settings) -> str:
    """Create or update the work pool and the deployment; return the id of the deployment.

    Raises:
        SettingsError: If a setting of the work pool is missing.
        Exception: If the server is unavailable.
    """
    from flows.prefect_adapter.runs import prefect_context  # noqa: PLC0415 - needs prepare_prefect
    from flows.worker.dispatcher import register  # noqa: PLC0415 - as above

    pool = _work_pool_of(settings)
    assert pool is not None
    async with prefect_context(settings.prefect_api_url) as client:
        return str(await register(client, pool))


def _work_pool_of(settings: Settings) -> str | None:
    """Return the work pool to which executions are submitted; ``None`` in the embedded mode."""
    if settings.execution_mode == "embedded":
        return None
    if is_embedded(settings.prefect_api_url):
        raise SettingsError("EXECUTION_MODE=workpool requires PREFECT_API_URL")
    if settings.prefect_work_pool is None:
        raise SettingsError("EXECUTION_MODE=workpool requires PREFECT_WORK_POOL")
    return settings.prefect_work_pool


def _settings_for(kind: type[T], settings: Settings, **more: Any) -> T:
    """Return a settings class with the values of the same names, and the values ``more``."""
    names = {field.name for field in fields(kind)} & Settings.model_fields.keys() - more.keys()
    return kind(**{name: getattr(settings, name) for name in names}, **more)


def revealed(secret: SecretStr | None) -> str | None:
    """Return the value of a secret setting."""
    return None if secret is None else secret.get_secret_value()


def data_encryption_of(settings: Settings) -> DataEncryption:
    """Return the encryption of hidden data. Its key file is next to the database."""
    return DataEncryption(revealed(settings.data_encryption_key), key_file_of(settings))


def checked(name: str, parse: Callable[[str], V], text: str) -> V:
    """Return the parsed value of a setting.

    Raises:
        SettingsError: If it is invalid. The message begins with ``name``.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{name}{error}") from None


def example_workflows() -> list[ExampleWorkflow]:
    """Return the workflows of ``examples/``, which a new database contains."""
    files = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(EXAMPLES.glob("*.json"))
    ]
    return [
        ExampleWorkflow(
            file["id"], file["name"], encode_json(file["data"]), encode_json(file["tags"])
        )
        for file in files
    ]
