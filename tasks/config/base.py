"""What the node types' configs share: blank values, spellings, faults in plain words, ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeVar, cast

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

from engine.errors import NodeError, TemplateError
from engine.json_values import JsonValue, as_text, kind_of, load_json
from engine.options import NodeOptions
from engine.ports import Port, Ports, ports_of
from tasks.config.rows import is_blank, row_models, sent_index, spellings, without_blank_rows
from tasks.templating.render import refusals, render

_ModelT = TypeVar("_ModelT", bound=BaseModel)

Name = Annotated[str, StringConstraints(strip_whitespace=True)]
"""A name or an address that has no spaces around it. The name of a field may have some: it is a
plain ``str``."""


class MissingSettingError(ValueError):
    """A setting that the other settings make necessary is not set."""


@dataclass(frozen=True, slots=True)
class Templated:
    """Marks a setting whose texts its handler fills: its expressions are checked beforehand.

    It stands in the annotation, ``Annotated[str, TEMPLATED]``: the JSON Schema does not show it.
    """

    may_be_json: bool = False
    """Whether a text there is read as JSON first, and the texts inside are the templates."""


TEMPLATED = Templated()


class FormModel(BaseModel):
    """Part of a config as forms send it: unknown keys, and nulls and blanks for what is not set."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
    )

    verbatim: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields whose value may itself be null or a blank text."""

    @model_validator(mode="before")
    @classmethod
    def _blank_is_not_set(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        fields = cast("Mapping[str, JsonValue]", data)
        kept = {spelling for name in cls.verbatim for spelling in spellings(cls, name)}
        rows = row_models(cls)
        return {
            key: without_blank_rows(rows[key], value) if key in rows else value
            for key, value in fields.items()
            if key in kept or not is_blank(value)
        }


@dataclass(frozen=True, slots=True)
class NodeTypeInfo:
    """How an editor shows a node type."""

    category: str = "custom"
    """Where it lists the type; the service's own are start, call, data, flow, end and note."""
    ports: Ports = field(default_factory=Ports)
    """The inputs and outputs. A connection names an input as its ``inputPort`` and an output as its
    ``outputType``. The output ``error``, which every type has, is not declared."""


class NodeConfig(FormModel, NodeOptions):
    """The config of a node type: its own settings beside those that every node may carry.

    A subclass may say how an editor shows the type, beside pydantic's own arguments:
    ``class MyConfig(NodeConfig, title="Mine", category="flow", outputs=("true", "false"))``. A port
    is a name, or a ``Port`` with a title and aliases.
    """

    info: ClassVar[NodeTypeInfo] = NodeTypeInfo()

    def __init_subclass__(
        cls,
        *,
        category: str | None = None,
        inputs: tuple[str | Port, ...] | None = None,
        outputs: tuple[str | Port, ...] | None = None,
        **settings: Unpack[ConfigDict],
    ) -> None:
        super().__init_subclass__(**settings)
        ports = cls.info.ports
        if inputs is not None:
            ports = replace(ports, inputs=ports_of(*inputs))
        if outputs is not None:
            ports = replace(ports, outputs=ports_of(*outputs))
        cls.info = NodeTypeInfo(cls.info.category if category is None else category, ports)

    def needs_input(self) -> bool:
        """Return whether a node with this config can do nothing without an input.

        A node that needs an input and has no connections is not part of an execution.
        """
        return False


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One thing that is wrong with a config."""

    path: tuple[str, ...]
    """Where it stands in the config, in the spelling in which it was sent; the first one when it is
    missing, and nothing where the config as a whole is meant."""
    reason: str
    """Why, as the rest of a sentence: ``is required``."""
    inside: tuple[str, ...] = ()
    """The way on inside a text that is read as more, JSON or a list, where no pointer leads."""

    @property
    def place(self) -> str:
        """The path as people write it: ``httpAuth.token``."""
        return ".".join((*self.path, *self.inside)) or "config"


def config_errors(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[ConfigError]:
    """Everything that ``model`` holds against ``config``, in the order of its fields."""
    try:
        model.model_validate(config)
    except ValidationError as error:
        return [
            _fault(model, config, detail)
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


def refused_templates(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[ConfigError]:
    """The expressions that cannot be filled whatever the input, in what the model's handler fills.

    Raises nothing; where the model itself rejects a setting, ``config_errors`` says so.
    """
    faults: list[ConfigError] = []
    for name, info in model.model_fields.items():
        mark = next((item for item in info.metadata if isinstance(item, Templated)), None)
        key = _as_sent(model, name, config)
        value = config.get(key)
        if mark is None or value is None:
            continue
        is_text = isinstance(value, str)
        if mark.may_be_json and isinstance(value, str):
            try:
                value = load_json(value)
            except ValueError:
                continue
        for steps, reason in refusals(value):
            if is_text:
                faults.append(ConfigError((key,), reason, steps))
            else:
                faults.append(ConfigError((key, *steps), reason))
    return faults


def read_config(model: type[_ModelT], node: Mapping[str, Any]) -> _ModelT:
    """The config of a node as its typed model.

    Raises:
        NodeError: the model rejects it; names every field and why.
    """
    config: Mapping[str, JsonValue] = node.get("config") or {}
    try:
        return model.model_validate(config)
    except ValidationError:
        faults = config_errors(model, config)
    text = "; ".join(f"'{fault.place}' {fault.reason}" for fault in faults)
    raise NodeError(f"the config is not valid: {text}", retryable=False)


def fill(setting: str, template: JsonValue, data: JsonValue) -> JsonValue:
    """``template`` filled from ``data``; an error says which setting the template stands in.

    Raises:
        TemplateError: see ``tasks.templating.render.render``.
    """
    try:
        return render(template, data)
    except TemplateError as error:
        raise TemplateError(f"{setting}: {error}") from None


def fill_text(setting: str, template: str, data: JsonValue) -> str:
    """As ``fill``, but always a text."""
    return as_text(fill(setting, template, data))


def has_template(text: str) -> bool:
    """Whether a text may change when it is filled."""
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


def _fault(
    model: type[BaseModel], config: Mapping[str, JsonValue], detail: ErrorDetails
) -> ConfigError:
    if not detail["loc"]:
        return ConfigError((), _reason(detail))
    head, *rest = detail["loc"]
    key = _as_sent(model, str(head), config)
    path = [key]
    value: JsonValue = config.get(key)
    if rest and isinstance(rest[0], int) and isinstance(value, list):
        rest[0] = sent_index(row_models(model).get(key), cast("list[JsonValue]", value), rest[0])
    for position, part in enumerate(rest):
        # pydantic names the branch of a union as well, which is no place in what was sent; nor is
        # what a validator made of a text.
        token = _token(value, part, is_last=position == len(rest) - 1)
        if token is not None:
            path.append(str(token))
            value = _inside(value, token)
    in_text = isinstance(config.get(key), str)
    inside = [str(part) for part in rest[:1] if in_text and isinstance(part, int)]
    return ConfigError(tuple(path), _reason(detail), tuple(inside))


def _token(value: JsonValue, part: str | int, *, is_last: bool) -> str | int | None:
    """The key or index under which ``part`` stands in ``value``, or would if it were there."""
    if isinstance(value, list):
        return part if isinstance(part, int) else None
    if not isinstance(value, Mapping) or isinstance(part, int):
        return None
    keys = cast("Mapping[str, JsonValue]", value).keys()
    spelt = part if part in keys else next((key for key in keys if to_camel(key) == part), None)
    return part if spelt is None and is_last else spelt


def _inside(value: JsonValue, token: str | int) -> JsonValue:
    if isinstance(value, Mapping):
        return cast("Mapping[str | int, JsonValue]", value).get(token)
    items = cast("list[JsonValue]", value)
    return items[cast("int", token)] if cast("int", token) < len(items) else None


def _as_sent(model: type[BaseModel], key: str, config: Mapping[str, JsonValue]) -> str:
    for name in model.model_fields:
        accepted = spellings(model, name)
        if key == name or key in accepted:
            sent = [spelling for spelling in (*accepted, name) if spelling in config]
            filled = [spelling for spelling in sent if not is_blank(config[spelling])]
            return next(iter(filled or sent or accepted))
    return key


def _reason(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind == "string_type":
        return f"should be a text, not of type {kind_of(detail['input'])}"
    if kind in _PLAIN:
        return _PLAIN[kind]
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.removeprefix("List ")
    return message.replace("Input should be", "should be", 1)
