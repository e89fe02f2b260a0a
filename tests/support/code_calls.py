"""Calls of the code node."""

from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS

HANGS = "while True: pass"


async def run(code: str, data: Any = None, *, memory_mb: int = 256, **config: Any) -> Any:
    """Return the result of the node."""
    settings = HandlerSettings(enable_code_node=True, code_memory_mb=memory_mb)
    enter_node_run(NodeRun(settings, inputs=lambda: {"who": "Ada"}))
    node = {"id": "n1", "type": "code", "config": {"code": code, **config}}
    return await NODE_HANDLERS["code"].fn(node, data)


async def failure(code: str, data: Any = None, **config: Any) -> str:
    """Return the error of the node, which is never retryable."""
    with pytest.raises(NodeError) as raised:
        await run(code, data, **config)
    assert not raised.value.retryable
    return str(raised.value)
