"""Child process: the messages to an execution process, its signals and its end."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.processes.child_process import (
    ENTRY_POINT,
    MAX_UNSENT_BYTES,
    ChildProcess,
    exit_reason,
)
from flows.processes.messages import Kind, frame, message_frame


class Process:
    """A process of the operating system that records what it receives."""

    def __init__(self, output: bytes = b"", error: Exception | None = None) -> None:
        self.pid = 7
        self.stdout = asyncio.StreamReader()
        self.stdout.feed_data(output)
        self.stdout.feed_eof()
        self.stdin: Any = self
        self.transport = SimpleNamespace(get_write_buffer_size=lambda: self.unsent)
        self.unsent = 0
        self.closing = False
        self.error = error
        self.written: list[bytes] = []
        self.signals: list[str] = []

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.error is not None:
            raise self.error

    def _signal(self, name: str) -> None:
        self.signals.append(name)
        if self.error is not None:
            raise ProcessLookupError

    def terminate(self) -> None:
        self._signal("terminate")

    def kill(self) -> None:
        self._signal("kill")

    async def wait(self) -> int:
        return 5

    @property
    def child(self) -> ChildProcess:
        return ChildProcess(2, cast("asyncio.subprocess.Process", self))


async def test_the_messages_of_a_process_are_passed_on_until_its_end() -> None:
    output = [message_frame(Kind.COMMITTED), message_frame(Kind.OWNER, owner="a"), b"\0\0"]
    child = Process(b"".join(output)).child
    received: list[tuple[Any, bool]] = []

    def accept(sender: ChildProcess, message: Any) -> None:
        assert sender is child
        received.append((message["kind"], sender.is_ready))

    assert await child.run(accept) == 5
    assert received == [("committed", False), ("owner", True)]
    assert child.owners == ["a"]
    assert (child.number, child.pid, child.node_runs) == (2, 7, 0)


@pytest.mark.parametrize(("unsent", "sent"), [(MAX_UNSENT_BYTES, 1), (MAX_UNSENT_BYTES + 1, 0)])
async def test_a_process_that_does_not_read_gets_no_further_signals(unsent: int, sent: int) -> None:
    process = Process()
    process.unsent = unsent
    process.child.wake(Kind.CLAIM)
    assert process.written == [message_frame(Kind.CLAIM)] * sent
    process.child.send(Kind.RUN_NODE, id=1)
    assert process.written[sent:] == [message_frame(Kind.RUN_NODE, id=1)]


async def test_messages_to_a_process_that_has_ended_are_lost() -> None:
    process = Process(error=ConnectionResetError())
    process.child.wake(Kind.POLL)
    process.child.send(Kind.CLAIM)
    assert len(process.written) == 2
    process.closing = True
    process.child.send(Kind.CLAIM)
    assert len(process.written) == 2
    process.stdin = None
    process.child.wake(Kind.POLL)
    process.child.send(Kind.CLAIM)
    process.child.kill()
    process.child.stop(1)
    assert process.signals == ["kill", "terminate"]


async def test_a_process_that_has_claimed_something_releases_it_before_its_end() -> None:
    process = Process()
    starting, ready = process.child, process.child
    ready.owners.append("a")
    ready.stop(2.5)
    assert process.written == [message_frame(Kind.STOP, graceSeconds=2.5)]
    assert process.signals == []
    starting.stop(2.5)
    assert process.written == [message_frame(Kind.STOP, graceSeconds=2.5)] * 2
    assert process.signals == ["terminate"]


async def test_a_started_process_receives_its_settings_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process, calls = Process(), list[tuple[Any, ...]]()

    async def create(*args: Any, **options: Any) -> Process:
        assert options["stdin"] == options["stdout"] == subprocess.PIPE
        calls.append(args)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    child = await ChildProcess.start(4, b"settings")
    assert calls == [(sys.executable, str(ENTRY_POINT))]
    assert ENTRY_POINT.is_file()
    assert process.written == [frame(b"settings")]
    assert child.number == 4


def test_the_reason_of_an_end_is_an_exit_code_or_a_signal() -> None:
    reasons = {0: "exit code 0", 3: "exit code 3", -9: "signal SIGKILL", -200: "signal 200"}
    assert {code: exit_reason(code) for code in reasons} == reasons
