"""Settings: environment variables, or lines of a ``.env`` file next to this module."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from setting_types import (
    HttpUrl,
    LogLevel,
    SettingsError,
    connections_of,
    in_capitals,
    limits_of,
    lower,
    prices_of,
    read_secrets,
    readable_by,
    require_256_bits,
    require_host,
    require_webhook_secret,
    upper,
    workflow_ids_of,
)

ROOT = Path(__file__).resolve().parent

SECRET_PREFIX = "SECRET_"  # noqa: S105 - a prefix of names
"""Prefix of the environment variables that contain secrets."""
OTEL_PREFIX = "OTEL_"
"""Prefix of OpenTelemetry's standard variables, which ``tracing`` reads."""
MIN_SECRET_CHARS = 4
"""Minimum length of a secret, because a shorter one occurs in unrelated strings by chance."""
MIN_DATA_KEY_CHARS = 16
_COMPARED_CHARACTERS = 60


def _resolve(path: Path) -> Path:
    # ``Path.expanduser`` raises for ``~name`` if the user does not exist, but it is a valid name.
    return Path(os.path.realpath(ROOT / os.path.expanduser(path)))  # noqa: PTH111


def _require_file_name(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("Input should be the path of a file")
    return value


_ResolvedPath = Annotated[Path, AfterValidator(_resolve)]


class Settings(BaseSettings):
    """All settings with their defaults. ``.env.example`` describes them.

    A blank value of a setting without a default is ignored.
    """

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    api_host: Annotated[str, AfterValidator(require_host)] = "0.0.0.0"  # noqa: S104 - the contract's default, because the frontend runs on another host
    """Address on which the service listens."""
    api_port: int = Field(default=8000, ge=0, le=65_535)
    """Port; 0 selects a free port and logs it."""

    api_keys: SecretStr | None = None
    """API keys: entries ``name:role:organization:sha256``; without any, no key is required."""
    api_keys_file: _ResolvedPath | None = None
    """File with one such entry in each line; relative to this directory."""
    token_secret: Annotated[SecretStr | None, AfterValidator(require_256_bits)] = None
    """Secret that signs tokens for browsers and links to tasks; by default a random secret of the
    process."""
    token_ttl_seconds: int = Field(default=900, ge=1, le=86_400)
    """Lifetime of a token for a browser, in seconds."""
    max_request_body_bytes: int = Field(default=10_485_760, ge=1_024, le=2**31 - 1)
    """Maximum size of a request body, in bytes; the response to a larger one is a 413."""
    max_body_values: int = Field(default=1_000_000, ge=1_000, le=2**31 - 1)
    """Maximum number of JSON values in a request body; the response to more is a 422."""
    request_body_timeout_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """Timeout for a request body to arrive, in seconds; the response to a later one is a 408."""

    max_logs_page_size: int = Field(default=10_000, ge=1, le=100_000)
    """Maximum number of node runs in one response of ``GET /api/executions/{id}/logs``."""
    max_response_characters: int = Field(default=16_777_216, ge=1_024, le=2**30)
    """Maximum size of the stored data that one response contains, in characters."""

    database_path: Annotated[Path, BeforeValidator(_require_file_name)] = Path("../database.sqlite")
    """SQLite file that is shared with the main project; relative to this directory."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL (``postgresql+asyncpg://…``) that replaces ``database_path``."""
    sqlite_synchronous: Annotated[Literal["NORMAL", "FULL"], BeforeValidator(upper)] = "NORMAL"
    """Mode in which SQLite waits for the disk. ``NORMAL``: a power cut can lose the last
    transactions, but the file stays valid. ``FULL``: each commit waits, and nothing is lost."""

    prefect_api_url: HttpUrl = None
    """API of a Prefect server; by default Prefect runs embedded, without a server."""
    execution_mode: Literal["embedded", "workpool"] = "embedded"
    """``embedded``: this process runs executions; ``workpool``: workers of a Prefect work pool."""
    prefect_work_pool: str | None = Field(default=None, max_length=255, pattern=r"^[^/%&<>]+$")
    """Work pool to which ``workpool`` submits executions; it is created if it does not exist."""
    prefect_home: _ResolvedPath = ROOT / ".prefect"
    """Directory for the files of Prefect; relative to this directory."""

    max_concurrent_executions: int = Field(default=16, ge=1, le=1_000)
    """Maximum number of running executions; the others are queued."""
    executor_processes: int = Field(default=0, ge=0, le=64)
    """Number of child processes that run executions; 0: the process of the service runs them."""
    max_concurrent_executions_per_workflow: int | None = Field(default=None, ge=1, le=1_000_000)
    """Maximum number of running executions of one workflow in all services; by default none."""
    max_concurrent_executions_per_organization: int | None = Field(default=None, ge=1, le=1_000_000)
    """Maximum number of running executions of one organization in all services; by default none."""
    max_concurrent_nodes_per_type: Annotated[str | None, readable_by(limits_of)] = None
    """Maximum numbers of running nodes by type, in all services: ``http=10,llm=4``."""
    max_concurrent_nodes_per_key: Annotated[str | None, readable_by(limits_of)] = None
    """Maximum numbers of running nodes by ``concurrencyKey``, in all services: ``gpu=2``. Any other
    key has the limit 1 in each organization."""
    max_pending_executions: int = Field(default=5_000, ge=1, le=1_000_000)
    """Maximum number of queued executions; the response to a further submission is a 429."""
    max_pending_executions_per_organization: int | None = Field(default=None, ge=1, le=1_000_000)
    """Maximum number of queued executions of one organization; by default half of the total."""
    event_retention_seconds: float = Field(default=86_400.0, ge=1, le=31_536_000)
    """Time for which an event is kept for a node that waits later, and its key is known."""
    max_kept_events: int = Field(default=10_000, ge=1, le=1_000_000)
    """Maximum number of kept events; half of them for one organization; more return a 429."""
    max_event_bytes: int = Field(default=65_536, ge=1_024, le=2**20)
    """Maximum size of the payload of an event, in bytes; the response to a larger one is a 422."""
    max_recovery_attempts: int = Field(default=3, ge=1, le=100)
    """Maximum number of recoveries of an execution whose service crashed; then it fails."""
    on_failure_workflow_id: str | None = Field(default=None, max_length=500)
    """Failure workflow of executions whose workflow and organization have none."""
    on_failure_workflow_ids: Annotated[str | None, readable_by(workflow_ids_of)] = None
    """Failure workflows of organizations: JSON ``{"organization": "workflow"}``."""
    max_subworkflow_depth: int = Field(default=8, ge=1, le=100)
    """Maximum depth of subworkflow calls; the node of a deeper call fails."""
    max_subworkflow_executions: int = Field(default=10_000, ge=1, le=1_000_000)
    """Maximum number of executions that one execution starts by calls at all depths."""
    max_workflow_nodes: int = Field(default=5_000, ge=1, le=1_000_000)
    """Maximum number of nodes of a workflow document."""
    max_workflow_connections: int = Field(default=20_000, ge=1, le=10_000_000)
    """Maximum number of connections of a workflow document."""
    max_concurrent_node_previews: int = Field(default=8, ge=1, le=1_000)
    """Maximum number of concurrent runs of single nodes; the response to a further one is a 429."""
    max_node_result_bytes: int = Field(default=16_777_216, ge=1_024, le=268_435_456)
    """Maximum size of a node result in JSON, in bytes; the node of a larger one fails."""
    max_execution_bytes: int = Field(default=536_870_912, ge=65_536)
    """Maximum size of the stored data of an execution, in bytes; the node that exceeds it fails."""
    max_template_read_bytes: int = Field(default=268_435_456, ge=65_536)
    """Maximum size of the data that the templates of a node run read, in bytes."""
    max_concurrent_nodes: int = Field(default=100, ge=1, le=10_000)
    """Maximum number of concurrent node runs of one execution."""
    execution_timeout_seconds: float | None = Field(default=None, gt=0)
    """Timeout for an uninterrupted run of an execution, in seconds; by default none."""
    execution_retention_days: float | None = Field(default=None, gt=0, le=36_500)
    """Retention of ended executions, in days. By default 30 days in a database that the service
    created, and unlimited in any other."""
    execution_retention_count: int | None = Field(default=None, ge=0)
    """Maximum number of ended executions. By default 10,000 in a database that the service
    created, and unlimited in any other."""
    lease_seconds: float = Field(default=15.0, ge=1, le=3_600)
    """Duration of a lease, in seconds, after which another service takes over an execution."""
    poll_interval_seconds: float = Field(default=1.0, gt=0, le=60)
    """Interval between two polls for changes by other processes, in seconds. With
    ``DATABASE_NOTIFICATIONS``, most changes do not wait for it."""
    database_notifications: bool = True
    """Whether services on PostgreSQL notify each other of changes, in addition to the polls. Use
    ``false`` behind a pooler in transaction mode, such as PgBouncer."""
    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """Timeout for running nodes at shutdown, in seconds."""

    openai_api_key: SecretStr | None = None
    """API key for ``llm`` nodes."""
    openai_base_url: HttpUrl = None
    """URL of an OpenAI-compatible API; by default that of OpenAI."""
    llm_model: str = "gpt-4o-mini"
    """Default model of ``llm`` nodes."""
    llm_prices: Annotated[str | None, readable_by(prices_of)] = None
    """Prices of models in US dollars per million tokens: JSON
    ``{"gpt-4o-mini": {"input": 0.15, "output": 0.6}}``."""
    llm_timeout_seconds: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Timeout for one request to a model, in seconds."""
    http_timeout_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Timeout for one request of an ``http`` node, in seconds."""
    http_allow_private_networks: bool = False
    """Whether requests to loopback addresses and private networks are allowed."""
    http_allowed_hosts: str | None = None
    """Hosts that are allowed in addition to public ones: names, addresses, ranges."""
    http_allow_host_header: bool = False
    """Whether nodes may send a ``Host`` header with another value than the host of their URL."""
    http_max_response_bytes: int = Field(default=10_485_760, ge=1)
    """Maximum size of a decompressed response, in bytes."""
    http_max_redirects: int = Field(default=10, ge=0, le=100)
    """Maximum number of redirects of one request."""
    max_retry_after_seconds: float = Field(default=86_400.0, ge=1, le=31_536_000)
    """Maximum delay that a response can request with ``Retry-After``, in seconds."""
    http_proxy_url: SecretStr | None = None
    """Proxy for requests to public addresses; may contain a password."""

    node_type_modules: str | None = None
    """Modules that add node types, separated by commas."""

    enable_code_node: bool = False
    """Whether ``code`` nodes may run Python code of workflows."""
    allow_code_node_without_keys: bool = False
    """Whether ``code`` nodes may be enabled without keys on an address other than loopback."""
    code_timeout_seconds: float = Field(default=10.0, gt=0, le=86_400)
    """Timeout for the code of a node without ``timeoutSeconds``, in seconds."""
    code_memory_mb: int = Field(default=256, ge=64, le=1_048_576)
    """Maximum address space of the process of a ``code`` node, in MiB."""

    sql_connections: Annotated[SecretStr | None, readable_by(connections_of)] = None
    """Databases of ``sql`` nodes: JSON ``{"name": "URL"}``; may contain passwords."""

    smtp_host: str | None = None
    """Mail server of ``sendEmail`` nodes; without it they fail."""
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    """Port of the mail server."""
    smtp_tls: Annotated[Literal["starttls", "tls", "none"], BeforeValidator(lower)] = "starttls"
    """Encryption: ``starttls``, ``tls`` from the first byte, or ``none``."""
    smtp_username: str | None = None
    """User at the mail server; by default the service does not log in."""
    smtp_password: SecretStr | None = None
    """Password of that user."""
    smtp_from: str | None = None
    """Sender of every e-mail: ``name@example.com`` or ``Name <name@example.com>``."""
    smtp_timeout_seconds: float = Field(default=30.0, gt=0, le=3_600)
    """Timeout for each step with the mail server, in seconds."""
    smtp_max_message_bytes: int = Field(default=10_485_760, ge=1_024, le=2**31 - 1)
    """Maximum size of an e-mail with its attachments, in bytes."""

    callback_signing_secret: Annotated[SecretStr | None, AfterValidator(require_webhook_secret)] = (
        None
    )
    """Secret that signs callbacks (Standard Webhooks); without it they are not signed."""
    callback_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """Timeout for the response to a callback, in seconds."""
    secrets_file: Path | None = None
    """File with secrets in addition to ``SECRET_…``: JSON, or lines ``NAME=value``."""
    data_encryption_key: SecretStr | None = Field(default=None, min_length=MIN_DATA_KEY_CHARS)
    """Key that encrypts the data of ``hideData`` nodes; by default in a file."""

    webhook_response_timeout_seconds: float = Field(default=30.0, gt=0, le=3_600)
    """Timeout for a ``webhookResponse`` node, in seconds; then the response is a 202."""
    max_webhook_body_bytes: int = Field(default=1_048_576, ge=1_024, le=2**31 - 1)
    """Maximum size of a webhook body, also decompressed, in bytes; a larger one is a 413."""
    max_webhook_form_fields: int = Field(default=1_000, ge=1, le=1_000_000)
    """Maximum number of fields and files of a webhook form."""

    cors_origins: str = ""
    """Origins of pages that may call the service, separated by commas; ``*`` allows every one."""
    allowed_hosts: str = ""
    """Host names that are accepted if no keys are set, separated by commas."""
    log_level: Annotated[LogLevel, BeforeValidator(in_capitals)] = "INFO"
    """Minimum level of the log: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``."""
    log_format: Literal["console", "json"] = "console"
    """Format of the log: ``console`` for people, ``json`` for programs."""

    @field_validator("*", mode="before")
    @classmethod
    def _ignore_blank(cls, value: object, info: ValidationInfo) -> object:
        is_optional = cls.model_fields[str(info.field_name)].default is None
        return None if is_optional and isinstance(value, str) and not value.strip() else value

    @property
    def node_module_names(self) -> list[str]:
        """The modules that add node types."""
        names = (self.node_type_modules or "").split(",")
        return [name.strip() for name in names if name.strip()]

    @property
    def pending_per_organization(self) -> int:
        """The maximum number of queued executions of each organization."""
        limit = self.max_pending_executions_per_organization
        return (self.max_pending_executions + 1) // 2 if limit is None else limit

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database."""
        if self.database_url is not None:
            url = self.database_url.get_secret_value()
        else:
            address = URL.create("sqlite+aiosqlite", database=str(self.database_file))
            url = address.render_as_string()
        is_default = self.sqlite_synchronous == "NORMAL"
        if is_default or "?" in url or not url.strip().lower().startswith("sqlite"):
            return url
        return f"{url.strip()}?synchronous={self.sqlite_synchronous}"

    @property
    def key_entries(self) -> str | None:
        """The entries of ``api_keys``."""
        return None if self.api_keys is None else self.api_keys.get_secret_value()

    @property
    def database_file(self) -> Path:
        """The SQLite file, absolute."""
        return _resolve(self.database_path)


def load_secrets(settings: Settings) -> dict[str, str]:
    """Return the secrets of the environment, ``.env`` and ``SECRETS_FILE``, in this precedence.

    Raises:
        SettingsError: If the file is invalid, a name is not valid in a template, or a value is too
            short to be masked. The message contains no value.
    """
    secrets: dict[str, str] = {}
    if settings.secrets_file is not None:
        secrets.update(read_secrets(_resolve(settings.secrets_file)))
    for source in (_dotenv(), os.environ):
        for name, value in source.items():
            if name.upper().startswith(SECRET_PREFIX) and name.upper() != SECRET_PREFIX and value:
                secrets[name[len(SECRET_PREFIX) :]] = value
    for name, value in secrets.items():
        if not name.isidentifier() or not name.isascii():
            raise SettingsError(f"secret {name!r}: its name should have only letters, digits and _")
        if len(value) < MIN_SECRET_CHARS:
            raise SettingsError(
                f"{SECRET_PREFIX}{name}: the value is shorter than {MIN_SECRET_CHARS} characters "
                "and could not be masked"
            )
    return secrets


_FOREIGN_NAMES = ("PREFECT_", "HTTP_PROXY", "HTTPS_PROXY", OTEL_PREFIX, SECRET_PREFIX)
"""Prefixes of the names of other programs and of secrets."""


def otel_variables() -> dict[str, str]:
    """Return OpenTelemetry's variables of the environment and ``.env``, in this precedence."""
    return {
        name: value
        for source in (_dotenv(), os.environ)
        for name, value in source.items()
        if name.startswith(OTEL_PREFIX) and value
    }


def misspelled_settings() -> dict[str, str]:
    """Return names of ``.env`` and the environment that look misspelled, with the correct names.

    The minimum similarity is lower in ``.env``, because only this service reads it.
    """
    known = [name.upper() for name in Settings.model_fields]
    corrections: dict[str, str] = {}
    for source, likeness in ((os.environ, 0.87), (_dotenv(), 0.75)):
        for name in source:
            upper = name.upper()
            if upper in known or upper.startswith(_FOREIGN_NAMES):
                continue
            matches = difflib.get_close_matches(upper[:_COMPARED_CHARACTERS], known, 1, likeness)
            if matches:
                corrections[name] = matches[0]
    return corrections


def _dotenv() -> Mapping[str, str | None]:
    return dotenv_values(ROOT / ".env", encoding="utf-8-sig")


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of ``overrides``, the environment and ``.env``, in this precedence.

    Raises:
        SettingsError: If a setting or a secret is invalid; one line names every invalid setting.
    """
    try:
        settings = Settings(**overrides)
        load_secrets(settings)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_error_text, error.errors()))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ROOT / '.env'} cannot be read: {error}") from None
    return settings


def _error_text(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])
    if SecretStr in get_args(Settings.model_fields[name].annotation):
        return f"{name.upper()}: {message}"
    return f"{name.upper()}={error['input']!r}: {message}"
