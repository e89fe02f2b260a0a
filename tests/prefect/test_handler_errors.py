"""The log shows where a handler raised an unexpected exception."""

from contextlib import suppress
from typing import Any

import pytest
from prefect import task
from structlog.testing import capture_logs

from engine.errors import NodeError
from flows.nodes import handler_errors
from flows.nodes.handler_errors import MAX_TRACEBACK_CHARACTERS, traceback_text
from flows.nodes.result import checked_result
from tasks.masking import Masker
from tests.support.prefect_nodes import NODE, Retries, handle, run

SECRET = "the-secret-of-this-test-0451"


def look_up(record: dict) -> object:
    return record["nope"]


@pytest.fixture
def secret(monkeypatch) -> str:
    masker = Masker()
    masker.add_secret(SECRET)
    monkeypatch.setattr(handler_errors, "secret_masker", masker)
    return SECRET


async def logged(handler, **options) -> list[Any]:
    """Run a handler; return the log lines with tracebacks."""
    with capture_logs() as lines, suppress(Exception, SystemExit):
        await run(lambda: handle(handler, {}, **options))
    return [line for line in lines if line["event"] == "handler_raised"]


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_exception_is_logged_with_file_and_line(is_async):
    def fails(node, input_data):
        return look_up(input_data)

    async def fails_later(node, input_data):
        return look_up(input_data)

    (line,) = await logged(task(fails_later if is_async else fails))
    assert (line["node_id"], line["node_type"]) == (NODE["id"], NODE["type"])
    number = look_up.__code__.co_firstlineno + 1
    assert f'{__file__}", line {number}, in look_up' in line["exception"]
    assert line["exception"].endswith("KeyError: 'nope'")
    assert line["exception"].count("dispatch_node.py") <= 1  # the frame of the thread


async def test_each_attempt_is_logged_once():
    @task
    async def handler(node, input_data):
        raise ValueError("wrong")

    retries = Retries()
    lines = await logged(handler, retries=2, delays=[0], on_retry=retries.note)
    assert len(lines) == 3


async def test_an_exit_of_a_handler_is_logged():
    @task
    async def handler(node, input_data):
        raise SystemExit(3)

    (line,) = await logged(handler)
    assert line["exception"].endswith("SystemExit: 3")


async def test_a_node_error_is_not_logged():
    @task
    async def meant(node, input_data):
        raise NodeError("no such customer")

    @task
    async def reported(node, input_data):
        return {"success": False, "message": "no"}

    assert await logged(meant) == []
    assert await logged(reported, check=checked_result) == []


async def test_a_traceback_is_logged_without_secrets(secret):
    @task
    async def handler(node, input_data):
        raise ValueError(f"cannot read {secret}")

    (line,) = await logged(handler)
    assert secret not in line["exception"]
    assert "cannot read ***" in line["exception"]


@pytest.mark.parametrize("place", range(0, 12_000, 997))
def test_a_long_traceback_is_cut_and_shows_no_part_of_a_secret(place, secret):
    found = traceback_text(ValueError("x" * place + secret + "y" * 50_000))
    assert len(found) <= MAX_TRACEBACK_CHARACTERS + 10
    assert secret[:8] not in found


def test_an_endless_recursion_is_logged_in_a_few_lines():
    def one(depth):
        return two(depth + 1)

    def two(depth):
        return one(depth + 1)

    with pytest.raises(RecursionError) as raised:
        one(0)
    assert len(traceback_text(raised.value)) <= MAX_TRACEBACK_CHARACTERS + 10


def test_an_exception_without_a_message_is_logged():
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "BrokenError" in traceback_text(BrokenError())
