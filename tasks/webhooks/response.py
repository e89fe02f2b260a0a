"""The webhookResponse: decides what the caller of the execution's webhook is answered."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, cast

from prefect import task
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.errors import NodeError
from engine.json_values import JsonValue, Missing, as_text, kind_of, load_json, lookup
from engine.response_headers import EXPLANATION, is_permitted, schema_pattern
from tasks.compute import compute
from tasks.config.base import (
    MissingSettingError,
    NodeConfig,
    Templated,
    fill,
    fill_text,
    has_template,
    read_config,
)
from tasks.config.field_names import as_names
from tasks.config.fields import trimmed
from tasks.config.json_schema import required_when
from tasks.http.config import Pair, as_pairs

REPLY = "webhookReply"
"""The key of the result that holds the answer: ``{"status", "headers": [[name, value]], "body"}``.
"""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_NAME_PATTERN = schema_pattern()
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ResponseMode(StrEnum):
    """What the answer's body is."""

    PASSTHROUGH = "passthrough"
    SELECTED = "selected"
    TEMPLATE = "template"


class ResponseHeader(Pair, title="Header"):
    """One header of the answer."""

    key: str = Field(default="", title="Name", json_schema_extra={"pattern": _NAME_PATTERN})
    """The name; a row without one is left out."""

    @field_validator("key")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        name = name.strip()
        if name and not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot be the name of a header")
        if name and not is_permitted(name):
            raise ValueError(f"header '{name}' is not permitted in a response; {EXPLANATION}")
        return name

    @field_validator("value")
    @classmethod
    def _is_one_line(cls, value: JsonValue) -> JsonValue:
        if isinstance(value, str) and not has_template(value) and _CONTROL.search(value):
            raise ValueError("the value of a header cannot have a control character in it")
        return value


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
    """Decides what the webhook's caller is answered, and passes its input on."""

    webhook_response_mode: Annotated[ResponseMode, BeforeValidator(trimmed)] = Field(
        default=ResponseMode.PASSTHROUGH, title="Answer with"
    )
    """The input as it is, some fields of it, or a template."""
    webhook_response_fields: Annotated[
        list[str], BeforeValidator(as_names, json_schema_input_type=_FormNames)
    ] = Field(default_factory=list[str], title="Fields", validate_default=True)
    """The fields that are answered: a list, or a text with commas; ``a.b`` reaches inside."""
    webhook_response_template: Annotated[JsonValue, Templated(may_be_json=True)] = Field(
        default=None, title="Template", validate_default=True
    )
    """The answer: any JSON or a text; may hold templates."""
    webhook_response_status_code: int = Field(default=200, ge=200, le=599, title="Status code")
    """The HTTP status."""
    webhook_response_headers: Annotated[
        list[ResponseHeader],
        BeforeValidator(as_pairs, json_schema_input_type=_FormRows),
        Templated(may_be_json=True),
    ] = Field(default_factory=list[ResponseHeader], title="Headers")
    """Headers of the answer; values may hold templates."""

    @field_validator("webhook_response_fields")
    @classmethod
    def _some_to_select(cls, fields: list[str], info: ValidationInfo) -> list[str]:
        if not fields and info.data.get("webhook_response_mode") == ResponseMode.SELECTED:
            raise MissingSettingError("is required for the mode 'selected'")
        return fields

    @field_validator("webhook_response_template")
    @classmethod
    def _one_to_fill(cls, template: JsonValue, info: ValidationInfo) -> JsonValue:
        if template is None and info.data.get("webhook_response_mode") == ResponseMode.TEMPLATE:
            raise MissingSettingError("is required for the mode 'template'")
        return template


@task(name="webhookResponse")
async def handle_webhook_response(
    node: dict[str, Any], input_data: JsonValue
) -> dict[str, JsonValue]:
    """Passes its input on; beside it, the answer.

    Raises:
        NodeError: the config is not valid, or the answer cannot be made from the input.
    """
    return await compute((node, input_data), _respond, node, input_data)


def _respond(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    config = read_config(WebhookResponseConfig, node)
    status = config.webhook_response_status_code
    headers: list[JsonValue] = [
        [row.key, _header_value(row, input_data)]
        for row in config.webhook_response_headers
        if row.key and row.value is not None
    ]
    return {
        "success": True,
        "message": f"The webhook's caller is answered {status}",
        "outputData": input_data,
        REPLY: {"status": status, "headers": headers, "body": _body(config, input_data)},
    }


def _body(config: WebhookResponseConfig, data: JsonValue) -> JsonValue:
    if config.webhook_response_mode == ResponseMode.SELECTED:
        if isinstance(data, list):
            records = cast("list[JsonValue]", data)
            return [_selected(config.webhook_response_fields, record) for record in records]
        return _selected(config.webhook_response_fields, data)
    if config.webhook_response_mode == ResponseMode.TEMPLATE:
        # JSON that was written as a text is read first: what is filled in cannot break it then.
        template = _structure(config.webhook_response_template)
        return _structure(fill("webhookResponseTemplate", template, data))
    return data


def _structure(value: JsonValue) -> JsonValue:
    """The object or list that a text of JSON is; everything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return load_json(value)
        except ValueError:
            return value
    return value


def _selected(fields: list[str], record: JsonValue) -> dict[str, JsonValue]:
    selected: dict[str, JsonValue] = {}
    for field in fields:
        found = lookup(record, field)
        if isinstance(found, Missing):
            known = ""
            if isinstance(record, Mapping):
                names = sorted(cast("Mapping[str, JsonValue]", record))[:20]
                known = f"it has: {', '.join(names) or 'no fields'}"
            else:
                known = f"it is of type {kind_of(record)}"
            message = f"webhookResponseFields: the input has no field '{field}' ({known})"
            raise NodeError(message, retryable=False)
        selected[field] = found
    return selected


def _header_value(row: ResponseHeader, data: JsonValue) -> str:
    setting = f"webhookResponseHeaders '{row.key}'"
    text = as_text(row.value) if not isinstance(row.value, str) else row.value
    filled = fill_text(setting, text, data).strip()
    if _CONTROL.search(filled):
        message = f"{setting}: the value would have a control character in it"
        raise NodeError(message, retryable=False)
    return filled
