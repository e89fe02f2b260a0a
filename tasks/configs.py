"""The typed configs of the built-in node types; the keys are the frontend's, in every spelling."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from engine.conditions import Operator
from engine.values import JsonValue, as_text, load_json
from tasks.config_base import FILLED, Filled, LenientModel, Name, NodeConfig, has_template
from tasks.http_client import parse_url
from tasks.signatures import usable_secret, usable_token

SECRET: dict[str, JsonValue] = {"writeOnly": True, "format": "password"}
"""Marks a setting in the JSON Schema as one whose value is not shown again."""


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def trimmed(value: object) -> object:
    """A text without the spaces around it; anything else as it is."""
    return value.strip() if isinstance(value, str) else value


class ProcessingMode(StrEnum):
    """Whether a list is taken as one input or record by record."""

    BATCH = "batch"
    PER_ROW = "perRow"


_Mode = Annotated[ProcessingMode, BeforeValidator(trimmed)]


class TriggerConfig(NodeConfig):
    """Starts a run and passes the payload on."""

    model_config = ConfigDict(title="Trigger")


class ManualInputConfig(NodeConfig):
    """A value typed into the workflow, or given with the execution."""

    model_config = ConfigDict(title="Manual input")
    verbatim: ClassVar[frozenset[str]] = frozenset({"input_var_value"})

    input_var_name: Name = Field(
        default="input",
        title="Name",
        validation_alias=AliasChoices("inputVarName", "manualInputVarName", "variableName"),
    )
    """The field of the output that holds the value."""
    input_var_value: JsonValue = Field(
        default=None,
        title="Value",
        validation_alias=AliasChoices("inputVarValue", "manualInputVarValue", "variableValue"),
    )
    """Any value; a text that is a number becomes that number."""


class OutputConfig(NodeConfig):
    """Marks its input as the result of the run."""

    model_config = ConfigDict(title="Output")


class CommentConfig(NodeConfig):
    """A note in the editor; inside a path it passes its input on."""

    model_config = ConfigDict(title="Comment")

    comment_text: str = Field(default="", title="Text")
    """What the note says."""


class WebhookConfig(NodeConfig):
    """Starts a run on a call from outside and passes on what was received."""

    model_config = ConfigDict(title="Webhook")

    webhook_token: Annotated[str | None, AfterValidator(usable_token)] = Field(
        default=None, title="Token", repr=False, json_schema_extra=SECRET
    )
    """The last part of the webhook's address; calls without it are refused."""
    webhook_secret: Annotated[str | None, AfterValidator(usable_secret)] = Field(
        default=None, title="Secret", repr=False, json_schema_extra=SECRET
    )
    """The key with which the caller signs what it sends: base64, after Standard Webhooks."""


class Pair(LenientModel):
    """One row of a table of headers or query parameters."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    key: str = Field(default="", title="Name")
    """The name; a row without one is left out."""
    value: JsonValue = Field(default=None, title="Value")
    """The value, may hold templates; a row with null is left out."""


def _as_pairs(value: object) -> object:
    if isinstance(value, str):
        try:
            value = load_json(value)
        except ValueError:
            value = None
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, JsonValue]", value)
        return [{"key": key, "value": inner} for key, inner in fields.items()]
    if not isinstance(value, list):
        raise ValueError("should be an object or a list of {key, value}")  # noqa: TRY004 - pydantic takes no other
    return cast("list[object]", value)


_Pairs = Annotated[
    list[Pair],
    BeforeValidator(_as_pairs, json_schema_input_type=dict[str, Any] | list[Pair]),
    Filled(may_be_json=True),
]


class BearerAuth(LenientModel):
    """``Authorization: Bearer …``."""

    model_config = ConfigDict(title="Bearer token")

    type: Literal["bearer"]
    token: Name = Field(title="Token", repr=False, json_schema_extra=SECRET)


class BasicAuth(LenientModel):
    """``Authorization: Basic …``."""

    model_config = ConfigDict(title="User name and password")

    type: Literal["basic"]
    username: str = Field(title="User name")
    password: str = Field(default="", title="Password", repr=False, json_schema_extra=SECRET)


class HeaderAuth(LenientModel):
    """A header of its own, such as ``X-API-Key``."""

    model_config = ConfigDict(title="Header")

    type: Literal["header"]
    name: Name = Field(title="Header name")
    value: str = Field(title="Value", repr=False, json_schema_extra=SECRET)


def _as_auth(value: object) -> object:
    """``None`` for the ways in which a form says that there is no authentication."""
    if not isinstance(value, Mapping):
        return value
    fields = cast("Mapping[str, JsonValue]", value)
    kind = str(fields.get("type") or "").strip().lower()
    if kind in {"", "none"}:
        return None
    if kind not in {"bearer", "basic", "header"}:
        raise ValueError(f"is of type '{kind}'; known are: bearer, basic, header, none")
    return {**fields, "type": kind}


_AnyAuth = Annotated[BearerAuth | BasicAuth | HeaderAuth, Field(discriminator="type")]
_Auth = Annotated[
    _AnyAuth | None, BeforeValidator(_as_auth, json_schema_input_type=_AnyAuth | None), FILLED
]


class HttpConfig(NodeConfig):
    """Calls an HTTP address and passes on what it answers."""

    model_config = ConfigDict(title="HTTP request")

    http_url: Annotated[Name, FILLED] = Field(title="URL")
    """``http://…`` or ``https://…``; may hold templates."""
    http_method: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], BeforeValidator(_upper)
    ] = Field(default="GET", title="Method")
    """The HTTP method."""
    http_headers: _Pairs = Field(default_factory=list[Pair], title="Headers")
    """Headers to send; values may hold templates."""
    http_query: _Pairs = Field(default_factory=list[Pair], title="Query parameters")
    """Added to the URL's own query; values may hold templates."""
    http_body: Annotated[JsonValue, FILLED] = Field(default=None, title="Body")
    """Any JSON or a text; may hold templates. POST, PUT and PATCH send the input without it."""
    http_response_type: Annotated[Literal["auto", "json", "text"], BeforeValidator(trimmed)] = (
        Field(default="auto", title="Answer")
    )
    """``auto`` reads JSON where the answer is JSON; ``json`` insists on it; ``text`` never does."""
    http_auth: _Auth = Field(default=None, title="Authentication")
    """How the call proves who makes it."""

    @field_validator("http_url")
    @classmethod
    def _literal_url(cls, url: str) -> str:
        if not has_template(url):
            parse_url(url)
        return url


class OutputType(StrEnum):
    """What a model's reply must be."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    ENUM = "enum"
    JSON = "json"


def _as_options(value: object) -> object:
    if isinstance(value, str):
        value = value.replace("\n", ",").split(",")
    if not isinstance(value, list):
        raise ValueError("should be a list of texts, or texts with commas")  # noqa: TRY004 - pydantic takes no other
    texts = [as_text(item).strip() for item in cast("list[JsonValue]", value) if item is not None]
    return list(dict.fromkeys(text for text in texts if text))


class LlmConfig(NodeConfig):
    """Asks a language model and passes on its reply."""

    model_config = ConfigDict(title="Language model")

    llm_prompt: Annotated[str, FILLED] = Field(
        title="Prompt", validation_alias=AliasChoices("llmPrompt", "prompt")
    )
    """What the model is asked; may hold templates."""
    llm_model: Annotated[Name | None, FILLED] = Field(default=None, title="Model")
    """The model's name; the service's default without it."""
    llm_include_input: bool = Field(default=True, title="Include the input")
    """Whether the input follows the prompt as JSON."""
    llm_system_prompt: Annotated[str | None, FILLED] = Field(default=None, title="System prompt")
    """What the model is told beforehand; may hold templates."""
    llm_temperature: float | None = Field(
        default=None, title="Temperature", ge=0, le=2, allow_inf_nan=False
    )
    """How freely the model chooses its words, 0 to 2; the model's default without it."""
    llm_max_tokens: int | None = Field(default=None, title="Longest reply", ge=1)
    """The most tokens that a reply may have."""
    output_type: Annotated[OutputType, BeforeValidator(trimmed)] = Field(
        default=OutputType.TEXT, title="Type of the reply"
    )
    """What the reply must be; one that is not is asked for once more."""
    enum_options: Annotated[
        list[str], BeforeValidator(_as_options, json_schema_input_type=list[str] | str)
    ] = Field(default_factory=list[str], title="Options", validate_default=True)
    """The replies that are allowed for the type ``enum``."""
    llm_processing_mode: _Mode = Field(default=ProcessingMode.BATCH, title="Processing")
    """``perRow`` asks once for each record of a list."""
    llm_stream: bool = Field(default=False, title="Show the reply while it comes")
    """Whether those who watch the execution get the reply piece by piece."""

    @field_validator("enum_options")
    @classmethod
    def _options_of_an_enum(cls, options: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("output_type") == OutputType.ENUM and not options:
            raise ValueError("is required when outputType is enum")
        return options


def no_template(field: str) -> str:
    """A placeholder in a field's name would look for a field of that text, and never find it."""
    if has_template(field):
        raise ValueError("should be the name of a field, without {{ }}")
    return field


def _as_operator(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Operator.parse(value)
    except ValueError as error:
        raise ValueError(f"names an {error}") from None


_Operator = Annotated[Operator, BeforeValidator(_as_operator, json_schema_input_type=Operator)]
_FieldPath = Annotated[Name, Field(title="Field")]


class FurtherCondition(LenientModel):
    """One more test of a condition."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    field: _FieldPath
    """The field to test; ``a.b.0.c`` reaches inside."""
    operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    value: JsonValue = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""

    _plain_name = field_validator("field")(no_template)


class TestsConfig(NodeConfig):
    """The tests that a condition makes, and a filter on each record."""

    __test__ = False  # pytest would take the name for a test class
    verbatim: ClassVar[frozenset[str]] = frozenset({"condition_value"})

    condition_field: _FieldPath
    """The field to test; ``a.b.0.c`` reaches inside."""
    condition_operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    condition_value: Annotated[JsonValue, FILLED] = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""
    additional_conditions: Annotated[list[FurtherCondition], FILLED] = Field(
        default_factory=list[FurtherCondition], title="Further conditions"
    )
    """Tests beside the first."""
    logical_operator: Annotated[Literal["AND", "OR"], BeforeValidator(_upper)] = Field(
        default="AND", title="Combination"
    )
    """Whether all tests must hold, or one."""

    _plain_name = field_validator("condition_field")(no_template)


class ConditionConfig(TestsConfig):
    """Tests its input and picks the way on."""

    model_config = ConfigDict(title="Condition")

    processing_mode: _Mode = Field(default=ProcessingMode.BATCH, title="Processing")
    """``perRow`` sorts the records of a list into those that pass and those that do not."""


class AddFieldConfig(NodeConfig):
    """Adds a field to the input, or to each record of a list."""

    model_config = ConfigDict(title="Add field")
    verbatim: ClassVar[frozenset[str]] = frozenset({"add_field_value"})

    add_field_name: Name = Field(
        default="newField",
        title="Name",
        validation_alias=AliasChoices("addFieldName", "fieldName"),
    )
    """The field's name, taken as it is."""
    add_field_value: Annotated[JsonValue, FILLED] = Field(
        default=None, title="Value", validation_alias=AliasChoices("addFieldValue", "fieldValue")
    )
    """Any value; may hold templates over the record."""


class JoinStrategy(StrEnum):
    """How the two inputs of a join become one list."""

    CONCAT = "concat"
    MERGE_BY_KEY = "mergeByKey"


class JoinType(StrEnum):
    """Which records without a match a join by key keeps."""

    INNER = "inner"
    OUTER = "outer"
    LEFT = "left"


class JoinConfig(NodeConfig):
    """Makes one list of two inputs, end to end or by a common key."""

    model_config = ConfigDict(title="Join")

    join_strategy: Annotated[JoinStrategy, BeforeValidator(trimmed)] = Field(
        default=JoinStrategy.CONCAT, title="Strategy"
    )
    """``concat`` puts A before B; ``mergeByKey`` merges the records whose keys are equal."""
    join_type: Annotated[JoinType, BeforeValidator(trimmed)] = Field(
        default=JoinType.INNER, title="Records without a match"
    )
    """``inner`` drops them, ``left`` keeps those of A, ``outer`` keeps those of both."""
    join_key: Name = Field(default="", title="Key", validate_default=True)
    """The field whose values must be equal; ``a.b`` reaches inside."""

    @field_validator("join_key")
    @classmethod
    def _key_of_a_merge(cls, key: str, info: ValidationInfo) -> str:
        if info.data.get("join_strategy") == JoinStrategy.MERGE_BY_KEY and not key:
            raise ValueError("is required when joinStrategy is mergeByKey")
        return key
