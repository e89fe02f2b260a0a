"""Config of the ``llm`` node."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from engine.json_values import as_text, is_list
from tasks.config.base import TEMPLATED, Name, NodeConfig
from tasks.config.fields import LONG_TEXT, Mode, required_for, trimmed
from tasks.config.json_schema import required_when

OutputType = Literal["text", "number", "date", "enum", "json"]
"""Required type of a model's reply."""


def as_options(value: object) -> object:
    """Return the distinct options of a list, or of a string with commas or lines."""
    if isinstance(value, str):
        value = value.replace("\n", ",").split(",")
    if not is_list(value):
        raise ValueError("should be a list of strings, or a string with commas")
    options = [as_text(item).strip() for item in value if item is not None]
    return list(dict.fromkeys(option for option in options if option))


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
    """Sends a prompt to a language model and passes its reply on."""

    llm_prompt: Annotated[str, TEMPLATED] = Field(
        title="Prompt",
        validation_alias=AliasChoices("llmPrompt", "prompt"),
        json_schema_extra=LONG_TEXT,
    )
    """The request to the model; may contain templates."""
    llm_model: Annotated[Name | None, TEMPLATED] = Field(default=None, title="Model")
    """The name of the model; the default is a setting of the service."""
    llm_include_input: bool = Field(default=True, title="Include the input")
    """Whether the input follows the prompt as JSON."""
    llm_system_prompt: Annotated[str | None, TEMPLATED] = Field(
        default=None, title="System prompt", json_schema_extra=LONG_TEXT
    )
    """General instructions to the model; may contain templates."""
    llm_temperature: float | None = Field(
        default=None, title="Temperature", ge=0, le=2, allow_inf_nan=False
    )
    """Randomness of the reply, 0 to 2; the default is that of the model."""
    llm_max_tokens: int | None = Field(default=None, title="Maximum length", ge=1)
    """Maximum number of tokens of a reply."""
    output_type: Annotated[OutputType, BeforeValidator(trimmed)] = Field(
        default="text", title="Type of the reply"
    )
    """The type of the reply; a reply of another type is requested once more."""
    enum_options: Annotated[
        list[str],
        BeforeValidator(as_options, json_schema_input_type=_FormOptions),
        required_for("outputType", "enum", unset=[]),
    ] = Field(default_factory=list[str], title="Options", validate_default=True)
    """The permitted replies for the type ``enum``."""
    llm_processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` sends one request for each record of a list."""
    llm_stream: bool = Field(default=False, title="Stream the reply")
    """Whether streams of the execution contain the reply piece by piece."""
