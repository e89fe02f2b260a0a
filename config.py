"""The service's settings: environment variables, or a ``.env`` file beside this one."""

import difflib
import io
import json
import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

ROOT = Path(__file__).resolve().parent

_SECRET_BYTES = (24, 64)
SECRET_PREFIX = "SECRET_"  # noqa: S105 - of names, no secret itself
MIN_SECRET_CHARS = 4
"""Characters. A shorter one is in too many texts by chance, and masking would destroy them."""
MIN_DATA_KEY_CHARS = 16
_TOKEN_SECRET_BYTES = 32
_COMPARED_CHARACTERS = 60

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class SettingsError(Exception):
    """A setting has a value that it cannot have; the message is one line and names it."""


def _none_if_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _in_capitals(value: object) -> object:
    level = value.upper() if isinstance(value, str) else value
    return level if level in get_args(LogLevel) else value


_BlankIsNone = BeforeValidator(_none_if_blank)


def _require_http(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("Input should start with http:// or https://")
    return value


_HttpUrl = Annotated[str | None, AfterValidator(_require_http), _BlankIsNone]


def require_host(value: str) -> str:
    """Return a host name or an address to listen on, an IPv6 address without its brackets.

    Raises:
        ValueError: If it has a scheme, a port, a path or a space.
    """
    host = value.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError("Input should be a host name or an address, such as 127.0.0.1")
    if "/" in host or "@" in host or any(character.isspace() for character in host):
        raise ValueError("Input should be a host name or an address, without scheme and path")
    if host.count(":") == 1 or "]" in host:
        raise ValueError("Input should be a host name or an address; the port is API_PORT")
    return host


def _require_webhook_secret(value: SecretStr | None) -> SecretStr | None:
    """Standard Webhooks: base64 of 24 to 64 random bytes, with or without ``whsec_``."""
    if value is not None:
        text = value.get_secret_value().removeprefix("whsec_").rstrip("=")
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            raise ValueError("Input should be base64, with or without whsec_ before it") from None
        if not _SECRET_BYTES[0] <= len(key) <= _SECRET_BYTES[1]:
            raise ValueError("Input should be the base64 of 24 to 64 bytes")
    return value


def _require_256_bits(value: SecretStr | None) -> SecretStr | None:
    """RFC 7518, section 3.2: a key for HS256 is at least as long as the hash."""
    if value is not None and len(value.get_secret_value().encode()) < _TOKEN_SECRET_BYTES:
        raise ValueError(f"Input should have at least {_TOKEN_SECRET_BYTES} bytes")
    return value


def _from_here(path: Path) -> Path:
    # ``Path.expanduser`` fails for ``~name`` without such a user, which is a valid file name.
    return Path(os.path.realpath(ROOT / os.path.expanduser(path)))  # noqa: PTH111


def _require_file_name(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("Input should be the path of a file")
    return value


def _from_here_if_any(path: Path | None) -> Path | None:
    return None if path is None else _from_here(path)


_FromHere = AfterValidator(_from_here)


class Settings(BaseSettings):
    """Every setting, each with a default that works. ``.env.example`` explains them."""

    model_config = SettingsConfigDict(
        env_file=ROOT / ".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    api_host: Annotated[str, AfterValidator(require_host)] = "0.0.0.0"  # noqa: S104 - the contract's default: the frontend is elsewhere
    """The address the service listens on."""
    api_port: int = Field(default=8000, ge=0, le=65_535)
    """The port; 0 takes a free one and logs it."""

    api_keys: Annotated[SecretStr | None, _BlankIsNone] = None
    """Who may call: ``name:role:organization:sha256`` entries; without any, everybody may."""
    api_keys_file: Annotated[Path | None, AfterValidator(_from_here_if_any), _BlankIsNone] = None
    """A file of such entries, a line each; relative paths start at this directory."""
    token_secret: Annotated[SecretStr | None, AfterValidator(_require_256_bits), _BlankIsNone] = (
        None
    )
    """Signs tokens for browsers; without it, with a secret of the process's own making."""
    token_ttl_seconds: int = Field(default=900, ge=1, le=86_400)
    """How long a token for a browser counts."""
    max_request_body_bytes: int = Field(default=10_485_760, ge=1_024, le=2**31 - 1)
    """How large the body of a request may be; past that it is answered with 413."""
    max_body_values: int = Field(default=1_000_000, ge=1_000, le=2**31 - 1)
    """Maximum number of JSON values in the body of a request; past that it is a 422."""
    request_body_timeout_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """How long the body of a request may take to come; past that it is answered with 408."""

    max_logs_page_size: int = Field(default=10_000, ge=1, le=100_000)
    """Maximum number of node runs in one response of ``GET /api/executions/{id}/logs``."""
    max_response_characters: int = Field(default=16_777_216, ge=1_024, le=2**30)
    """Maximum size of the stored data that one response contains, in characters."""

    database_path: Annotated[Path, BeforeValidator(_require_file_name)] = Path("../database.sqlite")
    """The SQLite file shared with the main project; relative paths start at this directory."""
    database_url: Annotated[SecretStr | None, _BlankIsNone] = None
    """A SQLAlchemy URL (``postgresql+asyncpg://…``); takes the place of ``database_path``."""

    prefect_api_url: _HttpUrl = None
    """A Prefect server's API; without it the engines run embedded, with no server."""
    prefect_home: Annotated[Path, _FromHere] = ROOT / ".prefect"
    """Where Prefect may keep files, absolute; relative paths start at this directory."""

    max_concurrent_executions: int = Field(default=16, ge=1, le=1_000)
    """How many executions run at once; the rest wait in the table."""
    max_pending_executions: int = Field(default=5_000, ge=1, le=1_000_000)
    """How many executions may wait; past that a submission is answered with 429."""
    max_pending_executions_per_organization: Annotated[int | None, _BlankIsNone] = Field(
        default=None, ge=1, le=1_000_000
    )
    """Maximum number of waiting executions of one organization; half of the total by default."""
    max_recovery_attempts: int = Field(default=3, ge=1, le=100)
    """How often an execution may bring the service down before it ends failed."""
    max_subworkflow_depth: int = Field(default=8, ge=1, le=100)
    """How deep workflows may call workflows; a call that goes deeper fails its node."""
    max_subworkflow_executions: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many executions one from outside may lead to by calls; one call more fails its node."""
    max_workflow_nodes: int = Field(default=5_000, ge=1, le=1_000_000)
    """Maximum number of nodes of a workflow document."""
    max_workflow_connections: int = Field(default=20_000, ge=1, le=10_000_000)
    """Maximum number of connections of a workflow document."""
    max_concurrent_node_previews: int = Field(default=8, ge=1, le=1_000)
    """Maximum number of single-node runs at the same time; one more is answered with 429."""
    max_node_result_bytes: int = Field(default=16_777_216, ge=1_024, le=268_435_456)
    """Maximum size of the result of a node as JSON; the node fails if it is larger."""
    max_execution_bytes: int = Field(default=536_870_912, ge=65_536)
    """Maximum size of the data that one execution stores; the node that exceeds it fails."""
    max_template_read_bytes: int = Field(default=268_435_456, ge=65_536)
    """Maximum size of the data that the templates of one node run read; the node fails then."""
    max_concurrent_nodes: int = Field(default=100, ge=1, le=10_000)
    """Maximum number of node runs in flight of one execution; the others wait for their turn."""
    execution_timeout_seconds: Annotated[float | None, _BlankIsNone] = Field(default=None, gt=0)
    """How long an execution may run at a stretch before it ends failed; none by default."""
    execution_retention_days: Annotated[float | None, _BlankIsNone] = Field(
        default=None, gt=0, le=36_500
    )
    """How long ended executions are kept; without it 30 days in a database of the service's own
    making, for ever in any other."""
    execution_retention_count: Annotated[int | None, _BlankIsNone] = Field(default=None, ge=0)
    """How many ended executions are kept; without it 10,000 in a database of the service's own
    making, all in any other."""
    lease_seconds: float = Field(default=15.0, ge=1, le=3_600)
    """How long an execution belongs to a service that gives no sign of life."""
    poll_interval_seconds: float = Field(default=1.0, gt=0, le=60)
    """How often the service looks for work that came from elsewhere."""
    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """How long running nodes may go on after the service is asked to stop."""

    openai_api_key: Annotated[SecretStr | None, _BlankIsNone] = None
    """The key for ``llm`` nodes."""
    openai_base_url: _HttpUrl = None
    """Any OpenAI-compatible endpoint; without it OpenAI's own."""
    llm_model: str = "gpt-4o-mini"
    """The model of ``llm`` nodes that name none."""
    llm_timeout_seconds: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """How long one call of a model may take."""
    http_timeout_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """How long one call of an ``http`` node may take."""
    http_allow_private_networks: bool = False
    """Whether calls may go to loopback and to private networks."""
    http_allowed_hosts: Annotated[str | None, _BlankIsNone] = None
    """What calls may reach besides public addresses: names, addresses, ranges, by commas."""
    http_allow_host_header: bool = False
    """Whether nodes may send a ``Host`` header with another value than the host of their URL."""
    http_max_response_bytes: int = Field(default=10_485_760, ge=1)
    """How large an answer may be, unpacked."""
    http_max_redirects: int = Field(default=10, ge=0, le=100)
    """How many redirects of one call are followed."""
    max_retry_after_seconds: float = Field(default=86_400.0, ge=1, le=31_536_000)
    """Maximum pause that another side may ask for with Retry-After, in seconds."""
    http_proxy_url: Annotated[SecretStr | None, _BlankIsNone] = None
    """A proxy for calls to public addresses; it may hold a password."""

    node_type_modules: Annotated[str | None, _BlankIsNone] = None
    """Modules that add node types, separated by commas."""

    enable_code_node: bool = False
    """Whether workflows may run Python of their own, in ``code`` nodes."""
    allow_code_node_without_keys: bool = False
    """Whether ``code`` nodes may be enabled without keys on an address beyond loopback."""
    code_timeout_seconds: float = Field(default=10.0, gt=0, le=86_400)
    """How long the code of a node may run that sets no ``timeoutSeconds``."""
    code_memory_mb: int = Field(default=256, ge=64, le=1_048_576)
    """How much address space the process of a ``code`` node may take, in MiB."""

    callback_signing_secret: Annotated[
        SecretStr | None, AfterValidator(_require_webhook_secret), _BlankIsNone
    ] = None
    """Signs callbacks, as Standard Webhooks; without it they are not signed."""
    callback_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long the receiver of a callback has for its answer."""
    secrets_file: Annotated[Path | None, _BlankIsNone] = None
    """Secrets beside those of ``SECRET_…``: JSON, or lines of ``NAME=value``."""
    data_encryption_key: Annotated[SecretStr | None, _BlankIsNone] = Field(
        default=None, min_length=MIN_DATA_KEY_CHARS
    )
    """Seals what nodes with ``hideData`` work with; without it a key file beside the database."""

    webhook_response_timeout_seconds: float = Field(default=30.0, gt=0, le=3_600)
    """How long the caller of a webhook waits for a ``webhookResponse`` node."""
    max_webhook_body_bytes: int = Field(default=1_048_576, ge=1_024, le=2**31 - 1)
    """Maximum size of a webhook delivery's body, as sent and unpacked; past that it is a 413."""
    max_webhook_form_fields: int = Field(default=1_000, ge=1, le=1_000_000)
    """Maximum number of fields and files of a form that is sent to a webhook."""

    cors_origins: str = ""
    """Origins of pages that may call the service, separated by commas; ``*`` allows every one."""
    allowed_hosts: str = ""
    """Host names under which the service accepts requests without keys, separated by commas."""
    log_level: Annotated[LogLevel, BeforeValidator(_in_capitals)] = "INFO"
    log_format: Literal["console", "json"] = "console"

    @property
    def node_module_names(self) -> list[str]:
        """The modules that add node types."""
        names = (self.node_type_modules or "").split(",")
        return [name.strip() for name in names if name.strip()]

    @property
    def pending_per_organization(self) -> int:
        """The limit of waiting executions for each organization."""
        given = self.max_pending_executions_per_organization
        return (self.max_pending_executions + 1) // 2 if given is None else given

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        address = URL.create("sqlite+aiosqlite", database=str(self.database_file))
        return address.render_as_string()

    @property
    def key_entries(self) -> str | None:
        """The entries of ``api_keys`` as they were given."""
        return None if self.api_keys is None else self.api_keys.get_secret_value()

    @property
    def database_file(self) -> Path:
        """The SQLite file, absolute."""
        return _from_here(self.database_path)


def load_secrets(settings: Settings) -> dict[str, str]:
    """The secrets of the environment, of ``.env`` and of ``SECRETS_FILE``, the first one winning.

    Raises:
        SettingsError: the file cannot be read or is no such file, a name cannot be written in a
            template, or a value is too short to be masked; never shows a value.
    """
    found: dict[str, str] = {}
    if settings.secrets_file is not None:
        found.update(_secrets_of(_from_here(settings.secrets_file)))
    for source in (_dotenv(), os.environ):
        for name, value in source.items():
            if name.upper().startswith(SECRET_PREFIX) and name.upper() != SECRET_PREFIX and value:
                found[name[len(SECRET_PREFIX) :]] = value
    for name, value in found.items():
        if not name.isidentifier() or not name.isascii():
            raise SettingsError(f"secret {name!r}: its name should have letters, digits and _ only")
        if len(value) < MIN_SECRET_CHARS:
            raise SettingsError(
                f"{SECRET_PREFIX}{name}: the value is shorter than {MIN_SECRET_CHARS} characters "
                "and could not be masked"
            )
    return found


_FOREIGN_NAMES = ("PREFECT_", "HTTP_PROXY", "HTTPS_PROXY", SECRET_PREFIX)
"""Beginnings of names that other programs read, and of secrets."""


def misspelled_settings() -> dict[str, str]:
    """Return the names in ``.env`` and in the environment that look like a setting's, each with it.

    ``.env`` belongs to this service, so that a smaller similarity is enough there.
    """
    known = [name.upper() for name in Settings.model_fields]
    found: dict[str, str] = {}
    for source, likeness in ((os.environ, 0.87), (_dotenv(), 0.75)):
        for name in source:
            upper = name.upper()
            if upper in known or upper.startswith(_FOREIGN_NAMES):
                continue
            matches = difflib.get_close_matches(upper[:_COMPARED_CHARACTERS], known, 1, likeness)
            if matches:
                found[name] = matches[0]
    return found


def _dotenv() -> Mapping[str, str | None]:
    return dotenv_values(ROOT / ".env", encoding="utf-8-sig")


def _secrets_of(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"SECRETS_FILE={path} cannot be read: {error}") from None
    if not text.lstrip().startswith("{"):
        lines = dotenv_values(stream=io.StringIO(text), interpolate=False)
        return {name: value for name, value in lines.items() if value}
    try:
        values = cast("dict[str, object]", json.loads(text))
    except ValueError:
        raise SettingsError(f"SECRETS_FILE={path} is no JSON") from None
    for name, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(f"SECRETS_FILE={path}: the value of '{name}' should be a text")
    return cast("dict[str, str]", values)


def load_settings(**given: Any) -> Settings:
    """Return the settings of the environment and of ``.env``; those in ``given`` override them.

    The secrets can be loaded too.

    Raises:
        SettingsError: If a setting is wrong: one line that names every wrong setting.
    """
    try:
        settings = Settings(**given)
        load_secrets(settings)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_fault, error.errors()))) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ROOT / '.env'} cannot be read: {error}") from None
    return settings


def _fault(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])
    if SecretStr in get_args(Settings.model_fields[name].annotation):
        return f"{name.upper()}: {message}"
    return f"{name.upper()}={error['input']!r}: {message}"
