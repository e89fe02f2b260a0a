"""What the guard's tests put in place of the network: names, and connections that lead nowhere."""

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
    """The names that resolve, who asked for them, and where connections were to be made."""

    def __init__(self, names: dict[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(answers) for name, answers in names.items()}
        self.asked: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: Any, port: Any, *args: int) -> Any:
        """As ``socket.getaddrinfo``. A name's answers come in turn; the last one stays."""
        self.asked.append(host)
        answers = self._answers.get(host.rstrip(".").lower())
        if answers is None:
            # Spellings of addresses are the system's own matter, and need no name server.
            family, kind, protocol, flags = (*args, 0, 0, 0, 0)[:4]
            return _getaddrinfo(host, port, family, kind, protocol, flags | socket.AI_NUMERICHOST)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [entry for address in found for entry in _getaddrinfo(address, port, *args)]

    async def connect(self, remote_host: str, *_args: Any, **_kwargs: Any) -> Any:
        """As ``anyio.connect_tcp``, with which all connections of httpx2 begin."""
        self.connected.append(remote_host)
        raise ConnectionRefusedError


_getaddrinfo = socket.getaddrinfo


@contextmanager
def no_network(**names: Sequence[Sequence[str]]) -> Iterator[Network]:
    """Names resolve as given, in Python's spelling (``_`` for ``.``); no connection is made."""
    with resolving(**names) as network, patch("anyio.connect_tcp", network.connect):
        yield network


@contextmanager
def resolving(**names: Sequence[Sequence[str]]) -> Iterator[Network]:
    """Names resolve as given; connections are real."""
    network = Network({name.replace("_", "."): answers for name, answers in names.items()})
    with patch("socket.getaddrinfo", network.resolve):
        yield network


async def get(url: str, **settings: Any) -> Any:
    """What an ``http`` node gives for ``url`` with the service's own defaults, or with settings."""

    async def run() -> Any:  # in a context of its own
        enter_node_run(NodeRun(HandlerSettings(**settings)))
        return await NODE_HANDLERS["http"].fn({"type": "http", "config": {"httpUrl": url}}, None)

    return await asyncio.create_task(run())


async def refusal(url: str, **settings: Any) -> NodeError:
    """The error with which a call fails."""
    try:
        result = await get(url, **settings)
    except NodeError as error:
        return error
    raise AssertionError(f"{url} was called: {result}")
