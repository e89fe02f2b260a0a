"""Runs the http node with a real server on loopback."""

from dataclasses import replace
from typing import Any

import pytest

from engine.errors import NodeError
from tasks.context import current_node_run, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tests.support.servers import Request, Response, serve

OK = Response.of({"ok": True})


async def call(url: str, data: Any = None, **config: Any) -> Any:
    run = current_node_run()
    settings = replace(run.settings, http_allowed_hosts="127.0.0.1")  # the servers of the tests
    enter_node_run(replace(run, settings=settings))
    node = {"id": "n1", "type": "http", "config": {"httpUrl": url, **config}}
    return await NODE_HANDLERS["http"].fn(node, data)


async def sent_request(data: Any = None, path: str = "/", **config: Any) -> Request:
    """Return the request that a server receives."""
    async with serve(OK) as server:
        await call(server.url + path, data, **config)
        return server.last


async def result_for(response: Response, **config: Any) -> Any:
    async with serve(response) as server:
        return await call(server.url, **config)


async def error_for(response: Response, **config: Any) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await result_for(response, **config)
    return raised.value


async def call_error(url: str, data: Any = None, **config: Any) -> NodeError:
    with pytest.raises(NodeError) as raised:
        await call(url, data, **config)
    return raised.value
