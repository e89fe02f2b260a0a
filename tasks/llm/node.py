"""LLM node: sends the prompt of its config to a language model."""

import asyncio
import importlib
from typing import Any

from prefect import task

from engine.json_values import JsonValue
from tasks.compute import success
from tasks.config.base import read_config
from tasks.context import current_node_run
from tasks.llm.config import LlmConfig


@task(name="llm")
async def handle_llm(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Send the prompt once, or once for each record of a list.

    The result has ``outputData`` (``{"response", "outputType", "inputData"}``, where ``response``
    is a list for ``perRow``), ``llmResponse``, ``model`` and ``usage``. It raises the errors of
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
