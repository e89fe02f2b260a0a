"""LLM node: sends the prompt of its config to a language model."""

import asyncio
import importlib
from typing import Annotated, Any, Literal

from prefect import task
from pydantic import AliasChoices, BeforeValidator, Field

from engine.json_values import JsonValue
from tasks.compute import success
from tasks.config.base import TEMPLATED, Name, NodeConfig, read_config
from tasks.config.fields import LONG_TEXT, Mode, as_names, required_for, trimmed
from tasks.config.json_schema import required_when
from tasks.context import current_node_run

OutputType = Literal["text", "number", "date", "enum", "json"]
"""Required type of a model's reply."""


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
        list[Name],
        BeforeValidator(as_names, json_schema_input_type=_FormOptions),
        required_for("outputType", "enum", unset=[]),
    ] = Field(default_factory=list[str], title="Options", validate_default=True)
    """The permitted replies for the type ``enum``."""
    llm_processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` sends one request for each record of a list."""
    llm_stream: bool = Field(default=False, title="Stream the reply")
    """Whether streams of the execution contain the reply piece by piece."""


@task(name="llm")
async def handle_llm(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Send the prompt once, or once for each record of a list.

    The result has ``outputData`` (``{"response", "outputType", "inputData"}``, where ``response``
    is a list for ``perRow``), ``llmResponse``, ``model`` and ``usage``. Raises the ``NodeError`` of
    ``tasks.llm.client.request_reply``.
    """
    config = read_config(LlmConfig, node)
    # The import of ``openai`` takes most of a second. It runs in a thread when it is first needed,
    # so that it delays neither the start of the service nor other nodes.
    await asyncio.to_thread(importlib.import_module, "tasks.llm.client")
    from tasks.llm.client import request_reply  # noqa: PLC0415

    settings = current_node_run().settings
    model, response, usage = await request_reply(config, settings, input_data)
    output = {"response": response, "outputType": config.output_type, "inputData": input_data}
    return success(f"{model} replied", output, llmResponse=response, model=model, usage=usage)
