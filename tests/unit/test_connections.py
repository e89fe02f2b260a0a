"""Connections to a host with several addresses: order, delay and cancellation."""

import asyncio

import pytest

from tasks.http import transport
from tasks.http.transport import connect_to_first


class Stream:
    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


async def test_an_unresponsive_address_does_not_delay_the_connection(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    cancelled: list[str] = []

    async def connect(address: str) -> Stream:
        if address == "dead":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(address)
                raise
        return Stream(address)

    assert (await connect_to_first(["dead", "alive"], connect)).address == "alive"
    assert cancelled == ["dead"]


async def test_the_next_address_is_tried_after_a_delay():
    tried: list[str] = []

    async def connect(address: str) -> Stream:
        tried.append(address)
        return Stream(address)

    assert (await connect_to_first(["first", "second"], connect)).address == "first"
    assert tried == ["first"]


async def test_a_surplus_connection_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    both, connections = asyncio.Barrier(2), list[Stream]()

    async def connect(address: str) -> Stream:
        await both.wait()
        connections.append(Stream(address))
        return connections[-1]

    kept = await connect_to_first(["a", "b"], connect)
    assert len(connections) == 2
    assert sorted((stream is kept, stream.closed) for stream in connections) == [
        (False, True),
        (True, False),
    ]


async def test_a_cancelled_call_leaves_no_connection_attempt(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    both, cancelled = asyncio.Barrier(3), list[str]()

    async def connect(address: str) -> Stream:
        try:
            await both.wait()
            await asyncio.Event().wait()
        finally:
            cancelled.append(address)
        raise AssertionError

    call = asyncio.create_task(connect_to_first(["a", "b"], connect))
    await both.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert sorted(cancelled) == ["a", "b"]


async def test_the_error_of_the_first_address_is_raised():
    async def connect(address: str) -> Stream:
        raise ConnectionRefusedError(address)

    with pytest.raises(ConnectionRefusedError, match="first"):
        await connect_to_first(["first", "second"], connect)
