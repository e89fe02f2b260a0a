"""Config of the ``llm`` node."""

from enum import StrEnum
from typing import Annotated, cast

from pydantic import AliasChoices, BeforeValidator, Field, ValidationInfo, field_validator

from engine.json_values import JsonValue, as_text
from tasks.config.base import TEMPLATED, MissingSettingError, Name, NodeConfig
from tasks.config.fields import LONG_TEXT, Mode, ProcessingMode, trimmed
from tasks.config.json_schema import required_when


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
    llm_processing_mode: Mode = Field(default=ProcessingMode.BATCH, title="Processing")
    """``perRow`` asks once for each record of a list."""
    llm_stream: bool = Field(default=False, title="Show the reply while it comes")
    """Whether those who watch the execution get the reply piece by piece."""

    @field_validator("enum_options")
    @classmethod
    def _options_of_an_enum(cls, options: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("output_type") == OutputType.ENUM and not options:
            raise MissingSettingError("is required when outputType is enum")
        return options
