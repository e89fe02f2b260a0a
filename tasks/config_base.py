"""What the node types' configs share: blank values, spellings, faults in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from engine.errors import NodeError, TemplateError
from engine.options import NodeOptions
from engine.values import JsonValue, as_text, kind_of, load_json
from tasks.templates import refusals, render

_ModelT = TypeVar("_ModelT", bound=BaseModel)

Name = Annotated[str, StringConstraints(strip_whitespace=True)]
"""The name of a field; spaces around it come from the form it was typed into."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Marks a setting whose texts its handler fills: its expressions are checked beforehand.

    It stands in the annotation, ``Annotated[str, FILLED]``: the JSON Schema does not show it.
    """

    may_be_json: bool = False
    """Whether a text there is read as JSON first, and the texts inside are the templates."""


FILLED = Filled()


class LenientModel(BaseModel):
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
        return {key: value for key, value in fields.items() if key in kept or not _blank(value)}


class NodeConfig(LenientModel, NodeOptions):
    """The config of a node type: its own settings beside those that every node may carry."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a config."""

    key: str
    """The config key, in the spelling in which it was sent; the first one when it is missing."""
    place: str
    """The dotted path of the value, which starts with ``key``."""
    reason: str
    """Why, as the rest of a sentence: ``is required``."""
    steps: tuple[str, ...] = ()
    """The way from ``key`` to the value, for a pointer; empty where that is all one can say."""


def spellings(model: type[BaseModel], name: str) -> list[str]:
    """The config keys under which a field is accepted, the one that wins first."""
    alias = model.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias if isinstance(alias, str) else name]


def faults_of(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[Fault]:
    """Everything that ``model`` holds against ``config``, in the order of its fields."""
    try:
        model.model_validate(config)
    except ValidationError as error:
        return [
            _fault(model, config, detail)
            for detail in error.errors(include_url=False, include_context=False)
        ]
    return []


def refused_templates(model: type[BaseModel], config: Mapping[str, JsonValue]) -> list[Fault]:
    """The expressions that cannot be filled whatever the input, in what the model's handler fills.

    Raises nothing; where the model itself rejects a setting, ``faults_of`` says so.
    """
    faults: list[Fault] = []
    for name, info in model.model_fields.items():
        mark = next((item for item in info.metadata if isinstance(item, Filled)), None)
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
            inside = () if is_text else steps
            faults.append(Fault(key, ".".join((key, *steps)), reason, inside))
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
        faults = faults_of(model, config)
    text = "; ".join(f"'{fault.place}' {fault.reason}" for fault in faults)
    raise NodeError(f"the config is not valid: {text}", retryable=False)


def fill(setting: str, template: JsonValue, data: JsonValue) -> JsonValue:
    """``template`` filled from ``data``; an error says which setting the template stands in.

    Raises:
        TemplateError: see ``tasks.templates.render``.
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


def _blank(value: JsonValue) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


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


def _fault(model: type[BaseModel], config: Mapping[str, JsonValue], detail: ErrorDetails) -> Fault:
    head, *rest = detail["loc"] or ("config",)
    key = _as_sent(model, str(head), config)
    place = [key]
    value: JsonValue = config.get(key)
    for position, part in enumerate(rest):
        # pydantic names the branch of a union as well, which is no place in what was sent.
        inside = _inside(value, part)
        if inside is None and position < len(rest) - 1:
            continue
        place.append(str(part))
        value = inside
    return Fault(key, ".".join(place), _reason(detail))


def _inside(value: JsonValue, part: str | int) -> JsonValue:
    if isinstance(value, Mapping):
        return cast("Mapping[str | int, JsonValue]", value).get(part)
    if isinstance(value, list) and isinstance(part, int):
        items = cast("list[JsonValue]", value)
        return items[part] if part < len(items) else None
    return None


def _as_sent(model: type[BaseModel], key: str, config: Mapping[str, JsonValue]) -> str:
    for name in model.model_fields:
        accepted = spellings(model, name)
        if key == name or key in accepted:
            sent = [spelling for spelling in (*accepted, name) if spelling in config]
            filled = [spelling for spelling in sent if not _blank(config[spelling])]
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
