"""Node configs: base model, readable errors and template helpers of all node types."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails
from typing_extensions import Unpack

from engine.errors import PermanentError, TemplateError
from engine.json_values import (
    JsonValue,
    as_text,
    is_blank,
    is_list,
    is_object,
    kind_of,
    structure_of,
)
from engine.options import NodeOptions
from engine.ports import Port, Ports, ports_of
from tasks.config.rows import aliases, row_models, sent_index, without_blank_rows
from tasks.templating.render import render, template_errors

_ModelT = TypeVar("_ModelT", bound=BaseModel)

Name = Annotated[str, StringConstraints(strip_whitespace=True)]
"""A string without surrounding spaces. Names of fields may have them, so they are plain ``str``."""


class MissingSettingError(ValueError):
    """A setting that another setting requires is not set."""


@dataclass(frozen=True, slots=True)
class Templated:
    """Marks a setting whose templates its handler fills, so that a submission checks them.

    Use it in the annotation: ``Annotated[str, TEMPLATED]``. The JSON Schema does not contain it.
    """

    may_be_json: bool = False
    """Whether a string is parsed as JSON, and the strings inside are the templates."""


TEMPLATED = Templated()


class FormModel(BaseModel):
    """Part of a config as forms send it: with unknown keys, and null or blank for unset values."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        coerce_numbers_to_str=True,
    )

    verbatim: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields for which null and blank strings are values."""

    @model_validator(mode="before")
    @classmethod
    def _blank_is_not_set(cls, data: object) -> object:
        if not is_object(data):
            return data
        kept = {alias for name in cls.verbatim for alias in aliases(cls, name)}
        rows = row_models(cls)
        return {
            key: without_blank_rows(rows[key], value) if key in rows else value
            for key, value in data.items()
            if key in kept or not is_blank(value)
        }


@dataclass(frozen=True, slots=True)
class NodeTypeInfo:
    """Properties of a node type for an editor."""

    category: str = "custom"
    """Category in the list of types; built-in ones are start, call, data, flow, end and note."""
    ports: Ports = field(default_factory=Ports)
    """Inputs and outputs; a connection names them as ``inputPort`` and ``outputType``. The output
    ``error``, which every type has, is not declared."""
    pure: bool = False
    """Whether the handler only computes its result and has no effect outside, such as a request.
    The service may record several such nodes together, and a crash may repeat them."""


class NodeConfig(FormModel, NodeOptions):
    """The config of a node type: its settings, in addition to the common options of all nodes.

    A subclass may describe the type for an editor, in addition to pydantic's arguments:
    ``class MyConfig(NodeConfig, title="Mine", category="flow", outputs=("true", "false"))``. A port
    is a name, or a ``Port`` with a title and aliases. ``pure=True`` declares that the handler has
    no effect outside; see ``NodeTypeInfo``. A subclass does not inherit it.
    """

    info: ClassVar[NodeTypeInfo] = NodeTypeInfo()

    def __init_subclass__(
        cls,
        *,
        category: str | None = None,
        inputs: tuple[str | Port, ...] | None = None,
        outputs: tuple[str | Port, ...] | None = None,
        pure: bool = False,
        **settings: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(**settings)
        ports = cls.info.ports
        if inputs is not None:
            ports = replace(ports, inputs=ports_of(*inputs))
        if outputs is not None:
            ports = replace(ports, outputs=ports_of(*outputs))
        category = cls.info.category if category is None else category
        cls.info = NodeTypeInfo(category, ports, pure)

    def needs_input(self) -> bool:
        """Return whether a node with this config requires an input.

        A node that needs an input and has no connections is not part of an execution.
        """
        return False


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One error in a config."""

    path: tuple[str, ...]
    """Keys and indexes of the setting, as sent. A missing setting has its first alias; the path is
    empty for an error of the whole config."""
    reason: str
    """The rest of a sentence, such as ``is required``."""
    inside: tuple[str, ...] = ()
    """The rest of the path inside a string that is parsed as JSON or as a list."""

    @property
    def path_text(self) -> str:
        """The path in dotted form: ``httpAuth.token``."""
        return ".".join((*self.path, *self.inside)) or "config"


def config_errors(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[ConfigError]:
    """Return all errors of ``config``, in the order of the fields of ``model``."""
    try:
        model.model_validate(config)
    except ValidationError as error:
        return [
            _config_error(model, config, detail)
            for detail in error.errors(include_url=False, include_context=False)
        ]
    return []


def is_incomplete(model: type[NodeConfig], config: Mapping[str, JsonValue]) -> bool:
    """Return whether a config lacks a setting, or an input if its node has no connections."""
    try:
        return model.model_validate(config).needs_input()
    except ValidationError as error:
        return any(
            detail["type"] == "missing"
            or isinstance(detail.get("ctx", {}).get("error"), MissingSettingError)
            for detail in error.errors(include_url=False, include_input=False)
        )


def invalid_templates(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[ConfigError]:
    """Return the templated settings whose expressions are invalid for every input.

    Settings that the model rejects are skipped; ``config_errors`` reports them.
    """
    errors: list[ConfigError] = []
    for name, info in model.model_fields.items():
        mark = next((item for item in info.metadata if isinstance(item, Templated)), None)
        key = _sent_key(model, name, config)
        value = config.get(key)
        if mark is None or value is None:
            continue
        is_string = isinstance(value, str)
        for steps, reason in template_errors(structure_of(value) if mark.may_be_json else value):
            if is_string:
                errors.append(ConfigError((key,), reason, steps))
            else:
                errors.append(ConfigError((key, *steps), reason))
    return errors


def read_config(model: type[_ModelT], node: Mapping[str, Any]) -> _ModelT:
    """Return the config of a node as its model; a ``NodeError`` names every invalid field."""
    config: Mapping[str, JsonValue] = node.get("config") or {}
    try:
        return model.model_validate(config)
    except ValidationError:
        errors = config_errors(model, config)
    text = "; ".join(f"'{error.path_text}' {error.reason}" for error in errors)
    raise PermanentError(f"the config is not valid: {text}")


def fill(setting: str, template: JsonValue, data: JsonValue) -> JsonValue:
    """Return ``template`` filled from ``data``; a ``TemplateError`` names the setting."""
    try:
        return render(template, data)
    except TemplateError as error:
        raise TemplateError(f"{setting}: {error}") from None


def fill_text(setting: str, template: str, data: JsonValue) -> str:
    """Return ``fill(setting, template, data)`` as a string."""
    return as_text(fill(setting, template, data))


def has_template(text: str) -> bool:
    """Return whether a string may contain a placeholder."""
    return "{{" in text


_PLAIN = {
    "missing": "is required",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "list_type": "should be a list",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
}


def _config_error(
    model: type[BaseModel], config: Mapping[str, JsonValue], detail: ErrorDetails
) -> ConfigError:
    if not detail["loc"]:
        return ConfigError((), _reason(detail))
    head, *rest = detail["loc"]
    key = _sent_key(model, str(head), config)
    path = [key]
    value: JsonValue = config.get(key)
    if rest and isinstance(rest[0], int) and is_list(value):
        rest[0] = sent_index(row_models(model).get(key), value, rest[0])
    for position, part in enumerate(rest):
        # A token is None for the branch of a union, and for a value that a validator created,
        # because neither is part of the sent config.
        token = _token(value, part, is_last=position == len(rest) - 1)
        if token is not None:
            path.append(str(token))
            value = _inside(value, token)
    in_string = isinstance(config.get(key), str)
    inside = [str(part) for part in rest[:1] if in_string and isinstance(part, int)]
    return ConfigError(tuple(path), _reason(detail), tuple(inside))


def _token(value: JsonValue, part: str | int, *, is_last: bool) -> str | int | None:
    """Return the key or index of ``part`` in ``value``; a missing last part is unchanged."""
    if is_list(value):
        return part if isinstance(part, int) else None
    if not is_object(value) or isinstance(part, int):
        return None
    sent = part if part in value else next((key for key in value if to_camel(key) == part), None)
    return part if sent is None and is_last else sent


def _inside(value: JsonValue, token: str | int) -> JsonValue:
    if is_object(value):
        return value.get(str(token))
    if is_list(value) and isinstance(token, int) and token < len(value):
        return value[token]
    return None


def _sent_key(model: type[BaseModel], key: str, config: Mapping[str, JsonValue]) -> str:
    for name in model.model_fields:
        accepted = aliases(model, name)
        if key == name or key in accepted:
            sent = [alias for alias in (*accepted, name) if alias in config]
            filled = [alias for alias in sent if not is_blank(config[alias])]
            return next(iter(filled or sent or accepted))
    return key


def _reason(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "string_type":
        return f"should be a string, not of type {kind_of(detail['input'])}"
    if kind in _PLAIN:
        return _PLAIN[kind]
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.removeprefix("List ")
    return message.replace("Input should be", "should be", 1)
