"""Child process: one execution process, as its service sees it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flows.processes.messages import (
    Kind,
    Message,
    frame,
    message_frame,
    parse_message,
    receive_frame,
)
from offload import run_sized

ENTRY_POINT = Path(__file__).resolve().parent.parent.parent / "execution_process.py"
MAX_UNSENT_BYTES = 65_536
"""Size of the unread messages, in bytes, from which a process gets no further wake-ups."""
_NEW_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""On Windows, a process of the same group would end at Ctrl-C before it is prepared for it."""

OnMessage = Callable[["ChildProcess", Message], None]


class ChildProcess:
    """One execution process. Used in one event loop."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.pid = process.pid
        self.owners: list[str] = []
        """The names under which it claims executions. It is ready when there is one."""
        self.node_runs = 0
        """Number of its single-node runs."""
        self._process = process

    @classmethod
    async def start(cls, number: int, settings: bytes) -> "ChildProcess":
        """Start a process with its pickled settings.

        Raises:
            OSError: If the system cannot start a process.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ENTRY_POINT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            creationflags=_NEW_GROUP,
        )
        child = cls(number, process)
        child.write(frame(settings))
        return child

    @property
    def is_ready(self) -> bool:
        """Whether the process claims executions."""
        return bool(self.owners)

    async def run(self, on_message: OnMessage) -> int:
        """Pass the messages of the process to ``on_message``; return its exit code at its end."""
        source = self._process.stdout
        assert source is not None
        while (body := await receive_frame(source)) is not None:
            message = await run_sized(len(body), parse_message, body)
            if message["kind"] == Kind.OWNER:
                self.owners.append(message["owner"])
            on_message(self, message)
        # The pipe of the process is closed, so that it can do nothing for the service any more.
        return await self._process.wait()

    def wake(self, kind: Kind) -> None:
        """Send a message without content, unless the process does not read its messages."""
        target = self._process.stdin
        if target is None or target.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return
        self.send(kind)

    def send(self, kind: Kind, **fields: object) -> None:
        """Send a message; it is lost if the process ends."""
        self.write(message_frame(kind, **fields))

    def write(self, data: bytes) -> None:
        """Send the frame of a message."""
        target = self._process.stdin
        if target is not None and not target.is_closing():
            with suppress(OSError):
                target.write(data)

    def stop(self, grace_seconds: float) -> None:
        """Let the process release its executions and end."""
        self.send(Kind.STOP, graceSeconds=grace_seconds)
        if not self.is_ready:  # it has claimed nothing, and its imports would delay the stop
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            self._process.kill()


def exit_reason(code: int) -> str:
    """Return the reason of an exit code, negative for a signal."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
