"""Deltas of output that a handler sends while it runs, in virtual time."""

import asyncio
from typing import Any

import pytest

from tasks.masking import Masker
from tasks.progress import send_delta
from tests.support.progress_recorder import ProgressRecorder, record_attempt
from tests.support.virtual_time import run


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a new masker, because it would hold back prefixes of the secrets of other tests."""
    monkeypatch.setattr("flows.nodes.progress.secret_masker", Masker())


def test_deltas_within_fifty_milliseconds_are_one_message():
    async def handler() -> None:
        for piece in ("a", "b", "c"):
            send_delta(piece)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        send_delta("d")

    published = record_attempt(handler).published
    assert [m["delta"] for m in published] == ["abc", "d"]
    assert published[0] == {
        "type": "node_output_delta",
        "executionId": "e1",
        "nodeId": "n1",
        "attempt": 1,
        "delta": "abc",
        "at": pytest.approx(0.05),
    }


def test_the_last_delta_is_sent_before_the_attempt_ends():
    async def body() -> None:
        watcher = ProgressRecorder()

        async def handler() -> None:
            send_delta("all")

        await watcher.attempt(handler)
        assert watcher.text == "all"

    run(body())


def test_many_deltas_keep_every_character_in_order_in_messages_of_two_kib():
    pieces = [f"{number} " for number in range(100_000)]

    async def handler() -> None:
        for number, piece in enumerate(pieces):
            send_delta(piece)
            if number % 1_000 == 0:
                await asyncio.sleep(0.01)
        send_delta("x" * 10_000)

    watcher = record_attempt(handler)
    assert watcher.text == "".join(pieces) + "x" * 10_000
    assert max(len(m["delta"]) for m in watcher.published) <= 2_048
    assert len(watcher.published) < len(watcher.text) / 1_000


def test_output_of_2048_characters_is_sent_at_once_and_longer_output_is_divided():
    async def handler() -> None:
        for text in ("x" * 2_048, "y" * 2_047, "z" * 2_049):
            send_delta(text)
            await asyncio.sleep(1)
        for _ in range(2):  # the size starts again after each message
            send_delta("v" * 1_024)
            await asyncio.sleep(0)

    published = [(round(m["at"], 3), m["delta"]) for m in record_attempt(handler).published]
    assert published == [
        (0.0, "x" * 2_048),
        (1.05, "y" * 2_047),
        (2.0, "z" * 2_048),
        (2.0, "z"),
        (3.0, "v" * 2_048),
    ]


def test_deltas_of_several_outputs_are_combined_separately():
    async def handler() -> None:
        for piece in "abc":
            send_delta(piece, index=0)
            send_delta(piece.upper(), index=1)
        send_delta("again", index=1, question=2)

    shown = [
        (m["delta"], m.get("index"), m.get("question")) for m in record_attempt(handler).published
    ]
    assert shown == [("abc", 0, None), ("ABC", 1, None), ("again", 1, 2)]


def test_a_failing_listener_does_not_fail_the_node():
    async def body() -> str:
        watcher = ProgressRecorder()

        def publish(_execution_id: str, _message: Any) -> None:
            raise RuntimeError("no listener")

        watcher.reports.publish = publish

        async def handler() -> str:
            send_delta("x" * 5_000)
            return "done"

        return await watcher.attempt(handler)

    assert run(body()) == "done"


def test_a_secret_in_several_deltas_is_masked(
    monkeypatch: pytest.MonkeyPatch,
):
    masker = Masker()
    masker.add_secret("s3cret-value")
    monkeypatch.setattr("flows.nodes.progress.secret_masker", masker)

    async def handler() -> None:
        for piece in ("the key is s3c", "ret-va", "lue, and s3c", "ond of all"):
            send_delta(piece)
            await asyncio.sleep(0.2)

    published = record_attempt(handler).published
    assert [m["delta"] for m in published] == ["the key is ", "***, and ", "s3cond of all"]
