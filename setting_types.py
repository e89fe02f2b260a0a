"""Setting types: types and validators of settings."""

import io
import json
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar, cast, get_args

from dotenv import dotenv_values
from pydantic import AfterValidator, SecretStr

T = TypeVar("T")

_MIN_SIGNING_BYTES, _MAX_SIGNING_BYTES = 24, 64
_TOKEN_SECRET_BYTES = 32
_MAX_LIMIT = 1_000_000
_MAX_PRICE = 1_000_000
_LIMIT_NAME = r"^[A-Za-z0-9_.-]+$"
"""Pattern of the names of limits, as of a ``concurrencyKey`` in ``engine.options``."""


class SettingsError(Exception):
    """A setting has an invalid value; the message is one line and names the setting."""


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def in_capitals(value: object) -> object:
    """Return a log level in upper case; any other value is not changed."""
    level = upper(value)
    return level if level in get_args(LogLevel) else value


def upper(value: object) -> object:
    """Return a string in upper case; any other value is not changed."""
    return value.upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    """Return a string in lower case; any other value is not changed."""
    return value.lower() if isinstance(value, str) else value


def require_http(value: str | None) -> str | None:
    """Return an HTTP URL.

    Raises:
        ValueError: If it has another scheme.
    """
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("Input should start with http:// or https://")
    return value


HttpUrl = Annotated[str | None, AfterValidator(require_http)]


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


def require_webhook_secret(value: SecretStr | None) -> SecretStr | None:
    """Return a secret of Standard Webhooks: base64 of 24 to 64 bytes, and perhaps ``whsec_``."""
    if value is not None:
        text = value.get_secret_value().removeprefix("whsec_").rstrip("=")
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            raise ValueError("Input should be base64, with or without whsec_ before it") from None
        if not _MIN_SIGNING_BYTES <= len(key) <= _MAX_SIGNING_BYTES:
            raise ValueError("Input should be the base64 of 24 to 64 bytes")
    return value


def readable_by(read: Callable[[T], object]) -> AfterValidator:
    """Return the validator of an optional setting that ``read`` must accept."""

    def require(value: T | None) -> T | None:
        if value is not None:
            read(value)
        return value

    return AfterValidator(require)


def connections_of(value: SecretStr) -> dict[str, str]:
    """Return the URLs of ``SQL_CONNECTIONS`` by name.

    Raises:
        ValueError: If it is not a JSON object of strings. The message contains no value.
    """
    connections = _object_of(value.get_secret_value())
    if connections is None:
        raise ValueError('Input should be a JSON object such as {"crm": "sqlite:///…"}')
    if any(not name.strip() or not isinstance(url, str) for name, url in connections.items()):
        raise ValueError("Input should have a URL for each name")
    return cast("dict[str, str]", connections)


def workflow_ids_of(value: str) -> dict[str, str]:
    """Return the workflows of ``ON_FAILURE_WORKFLOW_IDS`` by organization.

    Raises:
        ValueError: If it is not a JSON object of strings that are not empty.
    """
    found = _object_of(value)
    if found is None:
        raise ValueError('Input should be a JSON object such as {"organization": "workflow"}')
    for organization, workflow_id in found.items():
        if not organization or not isinstance(workflow_id, str) or not workflow_id:
            raise ValueError(f"Input should have the id of a workflow for {organization!r}")
    return cast("dict[str, str]", found)


def _object_of(text: str) -> dict[str, object] | None:
    """Return a JSON object; ``None`` for any other text."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, object]", found) if isinstance(found, dict) else None


class ModelPrice(NamedTuple):
    """Price of a model, in US dollars per million tokens."""

    input: float
    output: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the cost of these tokens, in US dollars."""
        total = prompt_tokens * self.input + completion_tokens * self.output
        return total / 1_000_000


def prices_of(value: str) -> dict[str, ModelPrice]:
    """Return the prices of ``LLM_PRICES`` by model.

    Raises:
        ValueError: If it is not a JSON object of prices ``{"input", "output"}`` from 0.
    """
    prices = _object_of(value)
    if prices is None:
        raise ValueError(
            'Input should be a JSON object such as {"gpt-4o-mini": {"input": 0.15, "output": 0.6}}'
        )
    return {model: _price_of(model, price) for model, price in prices.items()}


def _price_of(model: str, price: object) -> ModelPrice:
    fields = cast("dict[str, object]", price) if isinstance(price, dict) else {}
    numbers = [fields.get(name) for name in ModelPrice._fields]
    if set(fields) != set(ModelPrice._fields) or not all(map(_is_price, numbers)):
        raise ValueError(
            f'Input should have {{"input": …, "output": …}} with numbers from 0 for {model!r}'
        )
    return ModelPrice(*(float(cast("float", number)) for number in numbers))


def _is_price(number: object) -> bool:
    if not isinstance(number, int | float) or isinstance(number, bool):
        return False
    return 0 <= number <= _MAX_PRICE


def limits_of(value: str) -> dict[str, int]:
    """Return the limits of a setting by name.

    Raises:
        ValueError: If an entry is not a name, ``=`` and a number from 1, or a name occurs twice.
    """
    limits: dict[str, int] = {}
    for entry in filter(None, map(str.strip, value.split(","))):
        name, _, number = (part.strip() for part in entry.partition("="))
        if not re.match(_LIMIT_NAME, name):
            raise ValueError(
                f"Input should have entries such as http=10, and {entry!r} has another name; "
                "names have letters, digits, '_', '.' and '-'"
            )
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= _MAX_LIMIT):
            raise ValueError(
                f"Input should have a number from 1 to {_MAX_LIMIT:,} for each name, not {entry!r}"
            )
        if name in limits:
            raise ValueError(f"Input should have each name once, but {name!r} occurs twice")
        limits[name] = int(number)
    return limits


def require_256_bits(value: SecretStr | None) -> SecretStr | None:
    """Return a key for HS256, which is at least as long as the hash (RFC 7518, section 3.2)."""
    if value is not None and len(value.get_secret_value().encode()) < _TOKEN_SECRET_BYTES:
        raise ValueError(f"Input should have at least {_TOKEN_SECRET_BYTES} bytes")
    return value


def read_secrets(path: Path) -> dict[str, str]:
    """Return the secrets of ``SECRETS_FILE``: JSON, or lines ``NAME=value``.

    Raises:
        SettingsError: If the file is invalid. The message contains no value.
    """
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
        raise SettingsError(f"SECRETS_FILE={path} is not valid JSON") from None
    for name, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(f"SECRETS_FILE={path}: the value of '{name}' should be a string")
    return cast("dict[str, str]", values)
