"""Config of the ``http`` node: URL, tables of headers and query parameters, authentication."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.json_values import JsonValue, is_list, is_object, structure_of
from tasks.config.base import TEMPLATED, FormModel, Name, NodeConfig, Templated, has_template
from tasks.config.fields import SECRET, lower, trimmed, upper
from tasks.http.url_templates import URL_PATTERN, check_url_template

HEADER_NAME_PATTERN = r"^\s*[!#$%&'*+.^_`|~0-9A-Za-z-]*\s*$"
"""Regular expression of a JSON Schema for an empty or valid name."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONNECTION_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Framing and hop-by-hop headers (RFC 9110, 7.6.1; RFC 9112, 6). If two contradict each other, a
server and the proxy in front of it parse different requests (request smuggling)."""
_PROXY_PREFIX = "proxy-"
_SHOWN_CHARACTERS = 60

HOST = "host"


def check_header_name(name: str) -> str:
    """Return ``name``, or raise a ``ValueError`` if a workflow may not send such a header."""
    shown = name[:_SHOWN_CHARACTERS]
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{shown}' is not a valid header name")
    # Servers that turn headers into variables do not distinguish a dash from an underscore.
    plain = name.lower().replace("_", "-")
    if plain in _CONNECTION_HEADERS or plain.startswith(_PROXY_PREFIX):
        raise ValueError(
            f"header '{shown}' cannot be set: framing and hop-by-hop headers belong to the "
            "connection, which the service manages"
        )
    return name


def check_header_value(name: str, value: str) -> str:
    """Return ``value`` without surrounding white space; ``ValueError`` for a control character."""
    value = value.strip()
    if _CONTROL.search(value):
        raise ValueError(
            f"header '{name[:_SHOWN_CHARACTERS]}' would contain a line break or another control "
            "character"
        )
    return value


class Pair(FormModel, title="Row"):
    """One row of a table of headers or query parameters."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    key: str = Field(default="", title="Name")
    """The name; a row without a name is ignored."""
    value: JsonValue = Field(default=None, title="Value")
    """The value, may contain templates; a row with null is ignored."""


class RequestHeader(Pair, title="Header"):
    """One header of a request."""

    key: str = Field(
        default="", title="Name", json_schema_extra={"pattern": rf"{HEADER_NAME_PATTERN}|\{{\{{"}
    )
    """The name; a row without a name is ignored."""

    @field_validator("key")
    @classmethod
    def _can_be_set(cls, name: str) -> str:
        name = name.strip()
        return name if not name or has_template(name) else check_header_name(name)

    @field_validator("value")
    @classmethod
    def _is_one_line(cls, value: JsonValue, info: ValidationInfo) -> JsonValue:
        if isinstance(value, str) and not has_template(value):
            check_header_value(str(info.data.get("key", "")), value)
        return value


def as_pairs(value: object) -> object:
    """Return the rows of a table, which may be an object, rows, or the JSON of either."""
    value = structure_of(value)
    if is_object(value):
        return [{"key": key, "value": inner} for key, inner in value.items()]
    if not is_list(value):
        raise ValueError("should be an object or a list of {key, value}")
    return value


_FormPairs = (
    Annotated[list[Pair], Field(title="Rows")] | Annotated[dict[str, Any], Field(title="Object")]
)
_Pairs = Annotated[
    list[Pair],
    BeforeValidator(as_pairs, json_schema_input_type=_FormPairs),
    Templated(may_be_json=True),
]


_FormHeaders = (
    Annotated[list[RequestHeader], Field(title="Rows")]
    | Annotated[
        dict[str, Any],
        Field(
            title="Object",
            json_schema_extra={"propertyNames": {"pattern": rf"{HEADER_NAME_PATTERN}|\{{\{{"}},
        ),
    ]
)
_Headers = Annotated[
    list[RequestHeader],
    BeforeValidator(as_pairs, json_schema_input_type=_FormHeaders),
    Templated(may_be_json=True),
]


class NoAuth(FormModel, title="None"):
    """No authentication; the default."""

    type: Literal["none"]


class BearerAuth(FormModel, title="Bearer token"):
    """``Authorization: Bearer …``."""

    type: Literal["bearer"]
    token: Name = Field(title="Token", repr=False, json_schema_extra=SECRET)


class BasicAuth(FormModel, title="User name and password"):
    """``Authorization: Basic …``."""

    type: Literal["basic"]
    username: str = Field(title="User name")
    password: str = Field(default="", title="Password", repr=False, json_schema_extra=SECRET)


class HeaderAuth(FormModel, title="Header"):
    """A custom header, for example ``X-API-Key``."""

    type: Literal["header"]
    name: Name = Field(
        title="Header name", json_schema_extra={"pattern": HEADER_NAME_PATTERN.replace("]*", "]+")}
    )
    value: str = Field(title="Value", repr=False, json_schema_extra=SECRET)

    @field_validator("name")
    @classmethod
    def _can_be_set(cls, name: str) -> str:
        if name.lower() == HOST:
            raise ValueError("should not be Host, which does not authenticate a request")
        return check_header_name(name)


def _as_auth(value: object) -> object:
    """Return ``None`` for an object that means no authentication, and lower the type's case."""
    if not is_object(value):
        return value
    kind = str(value.get("type") or "").strip().lower()
    if kind in {"", "none"}:
        return None
    if kind not in {"bearer", "basic", "header"}:
        raise ValueError(f"has the type '{kind}'; accepted: bearer, basic, header, none")
    return {**value, "type": kind}


_FormAuth = Annotated[NoAuth | BearerAuth | BasicAuth | HeaderAuth, Field(discriminator="type")]
_Auth = Annotated[
    Annotated[BearerAuth | BasicAuth | HeaderAuth, Field(discriminator="type")] | None,
    BeforeValidator(_as_auth, json_schema_input_type=_FormAuth),
    TEMPLATED,
]


class HttpConfig(NodeConfig, title="HTTP request", category="call"):
    """Sends an HTTP request and passes the response on."""

    http_url: Annotated[Name, TEMPLATED] = Field(
        title="URL", json_schema_extra={"pattern": URL_PATTERN}
    )
    """``http://…`` or ``https://…``. Templates can fill the port, the path, the query or the whole
    URL; each value is encoded for its position."""
    http_method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], BeforeValidator(upper)
    ] = Field(default="GET", title="Method")
    """The HTTP method."""
    http_headers: _Headers = Field(default_factory=list[RequestHeader], title="Headers")
    """Headers of the request; values may contain templates."""
    http_query: _Pairs = Field(default_factory=list[Pair], title="Query parameters")
    """Added to the query of the URL; values may contain templates."""
    http_body: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Body")
    """Any JSON value; may contain templates. Without a body, POST, PUT and PATCH send the input. An
    object is sent as a form if the header ``Content-Type`` is that of a form."""
    http_body_mode: Annotated[Literal["auto", "none"], BeforeValidator(lower)] = Field(
        default="auto", title="Send a body"
    )
    """``none`` sends no body, regardless of the method, the body and the input."""
    http_response_type: Annotated[Literal["auto", "json", "text"], BeforeValidator(trimmed)] = (
        Field(default="auto", title="Response")
    )
    """``auto`` parses a response that is JSON; ``json`` requires JSON; ``text`` does not parse."""
    http_auth: _Auth = Field(default=None, title="Authentication")
    """The credentials of the request."""

    @field_validator("http_url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        check_url_template(url)
        return url
