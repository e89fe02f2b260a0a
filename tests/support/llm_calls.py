"""Calls of the llm node, against a real server on loopback that speaks chat completions."""

from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tests.support.llm_server import serve_replies
from tests.support.servers import Handler, Request, Response, ScriptedServer


async def ask(
    server: ScriptedServer | str, data: Any = None, key: str | None = "sk-1", **config: Any
) -> Any:
    """Runs the node against a server, or against a base URL."""
    url = server if isinstance(server, str) else f"{server.url}/v1"
    enter_node_run(NodeRun(HandlerSettings(openai_api_key=key, openai_base_url=url)))
    node = {"id": "n1", "type": "llm", "config": {"llmPrompt": "Say it", **config}}
    return await NODE_HANDLERS["llm"].fn(node, data)


async def reply_to(
    replies: str | list[str | Response] | Handler, data: Any = None, **config: Any
) -> Any:
    async with serve_replies(replies) as server:
        return await ask(server, data, **config)


async def failure_of(
    replies: str | list[str | Response] | Handler, data: Any = None, **config: Any
) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await reply_to(replies, data, **config)
    return raised.value


async def sent(data: Any = None, **config: Any) -> Request:
    """What the model server receives of one call."""
    async with serve_replies("ok") as server:
        await ask(server, data, **config)
        return server.last
