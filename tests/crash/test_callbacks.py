"""SIGKILL around callbacks: each result is delivered at least once."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.callback_receiver import Receiver
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import line
from tests.support.service import wait_until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def process(tmp_path: Any) -> Iterator[ServiceProcess]:
    """Start a service whose claimed callbacks are released after five seconds, not eleven."""
    settings = {"callback_timeout_seconds": 4, "callback_signing_secret": SECRET}
    with ServiceProcess(tmp_path, **settings) as service:
        yield service


def callback(process: ServiceProcess, execution_id: str) -> dict[str, Any]:
    return process.poll(execution_id)["callback"]


@pytest.mark.parametrize(
    ("point", "sent_before", "attempts"),
    [("after_final_write", 0, 1), ("before_callback", 0, 2), ("after_callback", 1, 2)],
)
def test_a_kill_between_the_end_and_its_callback_loses_nothing(
    process: ServiceProcess, receiver: Receiver, point: str, sent_before: int, attempts: int
) -> None:
    process.run_process(kill_at=point)
    execution_id = process.start_fatal(line(2), callbackUrl=receiver.url)
    assert process.row(execution_id)["status"] == "completed"
    assert process.violations(service_runs=False) == []
    assert len(receiver.got) == sent_before

    process.run_process()
    wait_until(lambda: callback(process, execution_id)["delivered"])
    assert callback(process, execution_id)["attempts"] == attempts
    # A receiver can detect the repetition, because the id and the body are equal.
    assert len(receiver.got) == sent_before + 1
    assert {message_id for message_id, _ in receiver.got} == {f"msg_{execution_id}"}
    assert all(body == receiver.got[0][1] for _, body in receiver.got)
    assert receiver.got[0][1]["type"] == "execution_complete"
    assert process.violations() == []
    log_text = process.log.read_text()
    assert "callback_delivered" in log_text
    assert "in-the-query" not in log_text
    assert SECRET not in log_text


def test_retries_continue_after_a_restart(process: ServiceProcess, receiver: Receiver) -> None:
    receiver.status = 500
    process.run_process()
    execution_id = process.start(line(2), callbackUrl=receiver.url)
    wait_until(lambda: callback(process, execution_id)["lastStatus"] == 500)
    planned = callback(process, execution_id)["nextAttemptAt"]
    process.kill()
    receiver.status = 200
    process.run_process(clock_shift_seconds=4_000)
    wait_until(lambda: callback(process, execution_id)["delivered"])
    assert callback(process, execution_id)["attempts"] == 2
    assert callback(process, execution_id)["deliveredAt"] > planned
    assert len(receiver.got) == 2


def test_a_callback_is_abandoned_after_a_day(process: ServiceProcess, receiver: Receiver) -> None:
    receiver.status = 500
    process.run_process()
    execution_id = process.start(line(2), callbackUrl=receiver.url)
    wait_until(lambda: callback(process, execution_id)["lastStatus"] == 500)
    process.kill()
    process.run_process(clock_shift_seconds=86_500)
    wait_until(lambda: callback(process, execution_id)["abandonedAt"])
    state = callback(process, execution_id)
    assert (state["attempts"], state["delivered"], state["nextAttemptAt"]) == (2, False, None)
    assert state["lastError"] == "the receiver answered 500 Internal Server Error"
    (given_up,) = process.events("callback_abandoned")
    assert given_up["execution_id"] == execution_id
