"""Webhook response node: defines the response to the caller of the execution's webhook."""

from typing import Annotated, Any, Literal

from prefect import task
from pydantic import BeforeValidator, Field, field_validator

from engine.errors import PermanentError
from engine.json_values import (
    JsonValue,
    Missing,
    as_text,
    describe_fields,
    is_list,
    lookup,
    structure_of,
)
from engine.response_headers import EXPLANATION, is_permitted, schema_pattern
from tasks.compute import computed, success
from tasks.config.base import NodeConfig, Templated, fill, fill_text, read_config
from tasks.config.fields import as_names, required_for, trimmed
from tasks.config.json_schema import required_when
from tasks.http.config import RequestHeader, as_pairs, check_header_value

REPLY = "webhookReply"
"""Key of the response in the result: ``{"status", "headers": [[name, value]], "body"}``."""

_NAME_PATTERN = schema_pattern()


class ResponseHeader(RequestHeader, title="Header"):
    """One header of the response."""

    key: str = Field(default="", title="Name", json_schema_extra={"pattern": _NAME_PATTERN})
    """The name; a row without a name is ignored."""

    @field_validator("key")
    @classmethod
    def _can_be_set(cls, name: str) -> str:
        name = name.strip()
        if name and not is_permitted(name):
            raise ValueError(f"header '{name}' is not permitted in a response; {EXPLANATION}")
        return name


_FormNames = list[Annotated[str, Field(title="Field", pattern=r"\S")]]
_FormRows = (
    Annotated[list[ResponseHeader], Field(title="Rows")]
    | Annotated[
        dict[str, Any],
        Field(title="Object", json_schema_extra={"propertyNames": {"pattern": _NAME_PATTERN}}),
    ]
)
_RESPONSE_FIELDS_REQUIRED: dict[str, JsonValue] = {
    **required_when(
        "webhookResponseFields", "webhookResponseMode", "selected", type="array", minItems=1
    ),
    # A blank template counts as not set.
    "else": required_when(
        "webhookResponseTemplate",
        "webhookResponseMode",
        "template",
        **{"not": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": r"^\s*$"}]}},
    ),
}


class WebhookResponseConfig(
    NodeConfig,
    title="Webhook response",
    category="end",
    json_schema_extra=_RESPONSE_FIELDS_REQUIRED,
):
    """Defines the response to the webhook's caller, and passes its input on."""

    webhook_response_mode: Annotated[
        Literal["passthrough", "selected", "template"], BeforeValidator(trimmed)
    ] = Field(default="passthrough", title="Response body")
    """The whole input, some fields of it, or a template."""
    webhook_response_fields: Annotated[
        list[str],
        BeforeValidator(as_names, json_schema_input_type=_FormNames),
        required_for("webhookResponseMode", "selected", unset=[]),
    ] = Field(default_factory=list[str], title="Fields", validate_default=True)
    """The fields of the response: a list, or a string with commas; ``a.b`` is a nested field."""
    webhook_response_template: Annotated[
        JsonValue,
        Templated(may_be_json=True),
        required_for("webhookResponseMode", "template", unset=None),
    ] = Field(default=None, title="Template", validate_default=True)
    """The response body: any JSON value; may contain templates."""
    webhook_response_status_code: int = Field(default=200, ge=200, le=599, title="Status code")
    """The HTTP status."""
    webhook_response_headers: Annotated[
        list[ResponseHeader],
        BeforeValidator(as_pairs, json_schema_input_type=_FormRows),
        Templated(may_be_json=True),
    ] = Field(default_factory=list[ResponseHeader], title="Headers")
    """Headers of the response; values may contain templates."""


@task(name="webhookResponse")
@computed
def handle_webhook_response(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Pass the input on, and add the response to the result.

    Raises a ``NodeError`` if the input lacks data of the response, or a header is invalid.
    """
    config = read_config(WebhookResponseConfig, node)
    status = config.webhook_response_status_code
    headers: list[JsonValue] = [
        [row.key, _header_value(row, input_data)]
        for row in config.webhook_response_headers
        if row.key and row.value is not None
    ]
    reply = {"status": status, "headers": headers, "body": _body(config, input_data)}
    message = f"Responded to the webhook's caller with {status}"
    return success(message, input_data, **{REPLY: reply})


def _body(config: WebhookResponseConfig, data: JsonValue) -> JsonValue:
    if config.webhook_response_mode == "selected":
        if is_list(data):
            return [_selected(config.webhook_response_fields, record) for record in data]
        return _selected(config.webhook_response_fields, data)
    if config.webhook_response_mode == "template":
        # A string of JSON is parsed before it is filled, so that no value can make it invalid.
        template = structure_of(config.webhook_response_template)
        return structure_of(fill("webhookResponseTemplate", template, data))
    return data


def _selected(fields: list[str], record: JsonValue) -> dict[str, JsonValue]:
    selected: dict[str, JsonValue] = {}
    for field in fields:
        value = lookup(record, field)
        if isinstance(value, Missing):
            hint = describe_fields(record)
            message = f"webhookResponseFields: the input has no field '{field}' ({hint})"
            raise PermanentError(message)
        selected[field] = value
    return selected


def _header_value(row: ResponseHeader, data: JsonValue) -> str:
    setting = f"webhookResponseHeaders '{row.key}'"
    text = as_text(row.value) if not isinstance(row.value, str) else row.value
    try:
        return check_header_value(row.key, fill_text(setting, text, data))
    except ValueError as error:
        raise PermanentError(f"{setting}: {error}") from None
