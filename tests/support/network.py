"""Simulated network for tests of the SSRF guard: names, and connections that always fail."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from engine.errors import NodeError
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS

PUBLIC = "93.184.215.14"
PUBLIC_SIX = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


class Network:
    """Simulated names, with a record of resolved names and of connection attempts."""

    def __init__(self, names: dict[str, Sequence[Sequence[str]]]) -> None:
        self._results = {name: list(results) for name, results in names.items()}
        self.resolved: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: Any, port: Any, *args: int) -> Any:
        """Replace ``socket.getaddrinfo``: return the results of a name in order, then the last."""
        self.resolved.append(host)
        results = self._results.get(host.rstrip(".").lower())
        if results is None:
            # The system parses literal addresses without a name server.
            family, kind, protocol, flags = (*args, 0, 0, 0, 0)[:4]
            return _getaddrinfo(host, port, family, kind, protocol, flags | socket.AI_NUMERICHOST)
        addresses = results.pop(0) if len(results) > 1 else results[0]
        return [entry for address in addresses for entry in _getaddrinfo(address, port, *args)]

    async def connect(self, remote_host: str, *_args: Any, **_kwargs: Any) -> Any:
        """Replace ``anyio.connect_tcp``, with which httpx2 connects."""
        self.connected.append(remote_host)
        raise ConnectionRefusedError


_getaddrinfo = socket.getaddrinfo


@contextmanager
def no_network(**names: Sequence[Sequence[str]]) -> Iterator[Network]:
    """Simulate names, with ``_`` instead of ``.``, and reject all connections."""
    with resolving(**names) as network, patch("anyio.connect_tcp", network.connect):
        yield network


@contextmanager
def resolving(**names: Sequence[Sequence[str]]) -> Iterator[Network]:
    """Simulate names, with real connections."""
    network = Network({name.replace("_", "."): results for name, results in names.items()})
    with patch("socket.getaddrinfo", network.resolve):
        yield network


async def get(url: str, **settings: Any) -> Any:
    """Return the result of an ``http`` node for ``url``, with default settings or these."""

    async def run() -> Any:  # in a separate context
        enter_node_run(NodeRun(HandlerSettings(**settings)))
        return await NODE_HANDLERS["http"].fn({"type": "http", "config": {"httpUrl": url}}, None)

    return await asyncio.create_task(run())


async def get_error(url: str, **settings: Any) -> NodeError:
    """Return the error of a call."""
    try:
        result = await get(url, **settings)
    except NodeError as error:
        return error
    raise AssertionError(f"{url} was called: {result}")
