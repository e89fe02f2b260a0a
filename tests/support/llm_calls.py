"""Runs the llm node with a real chat completion server on loopback."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings, current_node_run, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tests.support.llm_server import serve_replies
from tests.support.servers import Handler, Request, Response, ScriptedServer


async def run_llm(
    server: ScriptedServer | str, data: Any = None, key: str | None = "sk-1", **config: Any
) -> Any:
    """Run the node with a server, or with a base URL."""
    url = server if isinstance(server, str) else f"{server.url}/v1"
    settings = HandlerSettings(openai_api_key=key, openai_base_url=url)
    enter_node_run(replace(current_node_run(), settings=settings))
    node = {"id": "n1", "type": "llm", "config": {"llmPrompt": "Say it", **config}}
    return await NODE_HANDLERS["llm"].fn(node, data)


async def llm_result_for(
    replies: str | list[str | Response] | Handler, data: Any = None, **config: Any
) -> Any:
    async with serve_replies(replies) as server:
        return await run_llm(server, data, **config)


async def llm_error_for(
    replies: str | list[str | Response] | Handler, data: Any = None, **config: Any
) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await llm_result_for(replies, data, **config)
    return raised.value


async def sent_request(data: Any = None, **config: Any) -> Request:
    """Return the request that the model server receives."""
    async with serve_replies("ok") as server:
        await run_llm(server, data, **config)
        return server.last
