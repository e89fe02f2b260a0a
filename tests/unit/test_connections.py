"""Which of a host's addresses is connected to, and what becomes of the others."""

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


async def test_an_address_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    timeout_park: list[str] = []

    async def connect(address: str) -> Stream:
        if address == "dead":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                timeout_park.append(address)
                raise
        return Stream(address)

    assert (await connect_to_first(["dead", "alive"], connect)).address == "alive"
    assert timeout_park == ["dead"]


async def test_the_next_address_waits_while_the_first_may_still_answer():
    tried: list[str] = []

    async def connect(address: str) -> Stream:
        tried.append(address)
        return Stream(address)

    assert (await connect_to_first(["first", "second"], connect)).address == "first"
    assert tried == ["first"]


async def test_of_two_that_connect_one_is_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    both, made = asyncio.Barrier(2), list[Stream]()

    async def connect(address: str) -> Stream:
        await both.wait()
        made.append(Stream(address))
        return made[-1]

    kept = await connect_to_first(["a", "b"], connect)
    assert len(made) == 2
    assert sorted((stream is kept, stream.closed) for stream in made) == [
        (False, True),
        (True, False),
    ]


async def test_a_call_that_is_cancelled_leaves_no_attempt_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transport, "CONNECTION_ATTEMPT_DELAY_SECONDS", 0.0)
    both, timeout_park = asyncio.Barrier(3), list[str]()

    async def connect(address: str) -> Stream:
        try:
            await both.wait()
            await asyncio.Event().wait()
        finally:
            timeout_park.append(address)
        raise AssertionError

    call = asyncio.create_task(connect_to_first(["a", "b"], connect))
    await both.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert sorted(timeout_park) == ["a", "b"]


async def test_where_none_connects_the_first_one_s_reason_counts():
    async def connect(address: str) -> Stream:
        raise ConnectionRefusedError(address)

    with pytest.raises(ConnectionRefusedError, match="first"):
        await connect_to_first(["first", "second"], connect)
