"""The typed configs of the built-in node types; the keys are the frontend's, in every spelling."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from engine.conditions import Operator
from engine.json_values import JsonValue, as_text
from tasks.config.base import (
    TEMPLATED,
    FormModel,
    MissingSettingError,
    Name,
    NodeConfig,
    has_template,
)
from tasks.config.json_schema import WIDGET, required_when
from tasks.webhooks.signatures import SignatureScheme, usable_secret, usable_token

SECRET: dict[str, JsonValue] = {"writeOnly": True, "format": "password"}
"""Marks a setting in the JSON Schema as one whose value is not shown again."""
LONG_TEXT: dict[str, JsonValue] = {WIDGET: "textarea"}
NO_TEMPLATE: dict[str, JsonValue] = {"pattern": r"^(?=[\s\S]*\S)(?![\s\S]*\{\{)"}
"""Says in the schema that a text names something, as it is: neither blank nor a template."""


def upper(value: object) -> object:
    """A text in capitals, without the spaces around it; anything else as it is."""
    return value.strip().upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    """Return a text in lower case, without the spaces around it; anything else as it is."""
    return value.strip().lower() if isinstance(value, str) else value


def trimmed(value: object) -> object:
    """A text without the spaces around it; anything else as it is."""
    return value.strip() if isinstance(value, str) else value


class ProcessingMode(StrEnum):
    """Whether a list is taken as one input or record by record."""

    BATCH = "batch"
    PER_ROW = "perRow"


_Mode = Annotated[ProcessingMode, BeforeValidator(trimmed)]


class TriggerConfig(NodeConfig, title="Trigger", category="start", inputs=()):
    """Starts a run and passes the payload on."""


class ManualInputConfig(NodeConfig, title="Manual input", category="start", inputs=()):
    """A value typed into the workflow, or given with the execution."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"input_var_value"})

    input_var_name: str = Field(
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


class OutputConfig(NodeConfig, title="Output", category="end"):
    """Marks its input as the result of the run."""


class CommentConfig(NodeConfig, title="Comment", category="note"):
    """A note in the editor; inside a path it passes its input on."""

    comment_text: str = Field(default="", title="Text", json_schema_extra=LONG_TEXT)
    """What the note says."""


_BASE64 = r"(whsec_)?(([A-Za-z0-9+/]{4})+([A-Za-z0-9+/]{2,3})?|[A-Za-z0-9+/]{2,3})=*"
_TEXT_OR_NAME = (
    r"^(?=[\s\S]*\S)(?![\s\S]*\{\{)|^\s*\{\{\s*secrets\.[A-Za-z_][A-Za-z0-9_]*\s*\}\}\s*$"
)
_KEY = rf"^\s*({_BASE64}|\{{\{{\s*secrets\.[A-Za-z_][A-Za-z0-9_]*\s*\}}\}})\s*$"


_OWN_SECRET_SCHEMES = [scheme.value for scheme in SignatureScheme if scheme != "standard"]
_SECRET_REQUIRED: dict[str, JsonValue] = {
    "if": {
        "properties": {"webhookSignature": {"enum": [*_OWN_SECRET_SCHEMES]}},
        "required": ["webhookSignature"],
    },
    "then": {
        "properties": {"webhookSecret": {"type": "string", "pattern": _TEXT_OR_NAME}},
        "required": ["webhookSecret"],
    },
    "else": {"properties": {"webhookSecret": {"type": "string", "pattern": _KEY}}},
}


class WebhookConfig(
    NodeConfig,
    title="Webhook",
    category="start",
    inputs=(),
    json_schema_extra=_SECRET_REQUIRED,
):
    """Starts a run on a call from outside and passes on what was received."""

    webhook_token: Annotated[str | None, AfterValidator(usable_token)] = Field(
        default=None, title="Token", repr=False, json_schema_extra={**SECRET, "pattern": "^[^/]*$"}
    )
    """The last part of the webhook's address; calls without it are refused."""
    # Before the secret, whose validator reads it.
    webhook_signature: Annotated[SignatureScheme, BeforeValidator(lower)] = Field(
        default=SignatureScheme.STANDARD, title="Signature"
    )
    """The way in which the caller signs: Standard Webhooks, or as GitHub, Stripe or Slack do."""
    webhook_secret: str | None = Field(
        default=None, title="Secret", repr=False, validate_default=True, json_schema_extra=SECRET
    )
    """The key with which the caller signs its deliveries, or ``{{ secrets.NAME }}``; base64 for
    ``standard``."""

    @field_validator("webhook_secret")
    @classmethod
    def _is_usable(cls, secret: str | None, info: ValidationInfo) -> str | None:
        scheme = info.data.get("webhook_signature")
        if scheme is None:  # it is invalid already
            return secret
        if secret is not None:
            return usable_secret(secret, scheme)
        if scheme != SignatureScheme.STANDARD:
            raise ValueError(f"is required when webhookSignature is {scheme}")
        return None


class OutputType(StrEnum):
    """What a model's reply must be."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    ENUM = "enum"
    JSON = "json"


def as_texts(value: object) -> object:
    """The texts of a list, or of a text with commas or lines, each once and none blank."""
    if isinstance(value, str):
        value = value.replace("\n", ",").split(",")
    if not isinstance(value, list):
        raise ValueError("should be a list of texts, or texts with commas")  # noqa: TRY004 - pydantic takes no other
    texts = [as_text(item).strip() for item in cast("list[JsonValue]", value) if item is not None]
    return list(dict.fromkeys(text for text in texts if text))


_FormOptions = (
    Annotated[list[Annotated[str, Field(title="Option", pattern=r"\S")]], Field(title="List")]
    | Annotated[str, Field(title="Text with commas", pattern=r"[^\s,]")]
)
_ENUM_OPTIONS_REQUIRED = required_when(
    "enumOptions", "outputType", "enum", **{"not": {"enum": [[]]}}
)


class LlmConfig(
    NodeConfig, title="Language model", category="call", json_schema_extra=_ENUM_OPTIONS_REQUIRED
):
    """Asks a language model and passes on its reply."""

    llm_prompt: Annotated[str, TEMPLATED] = Field(
        title="Prompt",
        validation_alias=AliasChoices("llmPrompt", "prompt"),
        json_schema_extra=LONG_TEXT,
    )
    """What the model is asked; may hold templates."""
    llm_model: Annotated[Name | None, TEMPLATED] = Field(default=None, title="Model")
    """The model's name; the service's default without it."""
    llm_include_input: bool = Field(default=True, title="Include the input")
    """Whether the input follows the prompt as JSON."""
    llm_system_prompt: Annotated[str | None, TEMPLATED] = Field(
        default=None, title="System prompt", json_schema_extra=LONG_TEXT
    )
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
        list[str], BeforeValidator(as_texts, json_schema_input_type=_FormOptions)
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
            raise MissingSettingError("is required when outputType is enum")
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
_TestedField = Annotated[str, TEMPLATED, Field(title="Field")]


class AdditionalCondition(FormModel, title="Condition"):
    """One more test of a condition."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"value"})

    field: _TestedField
    """The field to test; ``a.b.0.c`` reaches inside. ``loop.item``, or a template."""
    operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    value: JsonValue = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""


class ComparisonsConfig(NodeConfig):
    """The tests that a condition makes, and a filter on each record."""

    __test__ = False  # pytest would take the name for a test class
    verbatim: ClassVar[frozenset[str]] = frozenset({"condition_value"})

    condition_field: _TestedField
    """The field to test; ``a.b.0.c`` reaches inside. ``loop.item``, or a template."""
    condition_operator: _Operator = Field(default=Operator.EQUALS, title="Comparison")
    """How the field is held against the value."""
    condition_value: Annotated[JsonValue, TEMPLATED] = Field(default=None, title="Value")
    """What the field is held against; may hold templates."""
    additional_conditions: Annotated[list[AdditionalCondition], TEMPLATED] = Field(
        default_factory=list[AdditionalCondition], title="Further conditions"
    )
    """Tests beside the first."""
    logical_operator: Annotated[Literal["AND", "OR"], BeforeValidator(upper)] = Field(
        default="AND", title="Combination"
    )
    """Whether all tests must hold, or one."""


class ConditionConfig(
    ComparisonsConfig, title="Condition", category="flow", outputs=("true", "false")
):
    """Tests its input and picks the way on."""

    processing_mode: _Mode = Field(default=ProcessingMode.BATCH, title="Processing")
    """``perRow`` sorts the records of a list into those that pass and those that do not."""


class AddFieldConfig(NodeConfig, title="Add field", category="data"):
    """Adds a field to the input, or to each record of a list."""

    verbatim: ClassVar[frozenset[str]] = frozenset({"add_field_value"})

    add_field_name: str = Field(
        default="newField",
        title="Name",
        validation_alias=AliasChoices("addFieldName", "fieldName"),
    )
    """The field's name, taken as it is."""
    add_field_value: Annotated[JsonValue, TEMPLATED] = Field(
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


_JOIN_KEY_REQUIRED = required_when(
    "joinKey", "joinStrategy", "mergeByKey", type="string", pattern=r"\S"
)


class JoinConfig(
    NodeConfig,
    title="Join",
    category="data",
    inputs=("A", "B"),
    json_schema_extra=_JOIN_KEY_REQUIRED,
):
    """Makes one list of two inputs, end to end or by a common key."""

    join_strategy: Annotated[JoinStrategy, BeforeValidator(trimmed)] = Field(
        default=JoinStrategy.CONCAT, title="Strategy"
    )
    """``concat`` puts A before B; ``mergeByKey`` merges the records whose keys are equal."""
    join_type: Annotated[JoinType, BeforeValidator(trimmed)] = Field(
        default=JoinType.INNER, title="Records without a match"
    )
    """``inner`` drops them, ``left`` keeps those of A, ``outer`` keeps those of both."""
    join_key: str = Field(default="", title="Key", validate_default=True)
    """The field whose values must be equal; ``a.b`` reaches inside."""

    @field_validator("join_key")
    @classmethod
    def _key_of_a_merge(cls, key: str, info: ValidationInfo) -> str:
        if info.data.get("join_strategy") == JoinStrategy.MERGE_BY_KEY and not key:
            raise MissingSettingError("is required when joinStrategy is mergeByKey")
        return key
