"""The ``llm`` node."""

import asyncio
import importlib
from typing import Any

from prefect import task

from engine.json_values import JsonValue
from tasks.config.base import read_config
from tasks.context import current_node_run
from tasks.llm.config import LlmConfig


@task(name="llm")
async def handle_llm(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Asks the model once, or once for each record of a list.

    ``outputData``: ``{"response", "outputType", "inputData"}``, where ``response`` is a list for
    ``perRow``; beside it ``llmResponse``, ``model`` and ``usage``.

    Raises:
        NodeError: see ``tasks.llm.client.ask``.
    """
    config = read_config(LlmConfig, node)
    # ``openai`` takes the better part of a second to import. A service without such a node shall
    # not start the later for it, and no other node stand still while it comes.
    await asyncio.to_thread(importlib.import_module, "tasks.llm.client")
    from tasks.llm.client import ask  # noqa: PLC0415

    answer = await ask(config, current_node_run().settings, input_data)
    return {
        "success": True,
        "message": f"{answer.model} replied",
        "outputData": {
            "response": answer.response,
            "outputType": config.output_type.value,
            "inputData": input_data,
        },
        "llmResponse": answer.response,
        "model": answer.model,
        "usage": answer.usage.as_json(),
    }
