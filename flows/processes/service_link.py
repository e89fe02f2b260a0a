"""Service link: the connection of an execution process to the service that started it."""

import asyncio
import faulthandler
import threading
from collections import deque
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from typing import BinaryIO

import structlog

from database.connection.commit_signal import Change
from engine.json_values import JsonValue
from flows.processes.messages import Kind, Message, message_frame, parse_message, read_frame
from flows.worker.state import WorkerState

log = structlog.get_logger()

MAX_QUEUED_MESSAGES = 1_000
"""Maximum number of messages for clients that wait for the service. Further ones are dropped."""
MAX_BLOCKED_LEASES = 2.0
"""Time after which a process with a blocked event loop ends itself, as a multiple of a lease. Other
processes may continue its executions after one lease already."""
MAX_ALIVE_INTERVAL_SECONDS = 1.0

OnMessage = Callable[[Message], None]


class ServiceLink:
    """Sends and receives messages, in two threads. Its methods may be called from any thread.

    No sender waits for the pipe, because a commit and a handler must not wait for the service.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO, lease_seconds: float) -> None:
        self._source = source
        self._target = target
        self._blocked_seconds = MAX_BLOCKED_LEASES * lease_seconds
        self._changed = threading.Condition()
        self._signals: dict[Kind, None] = {}
        """Messages without content that wait to be sent, each once."""
        self._queue: deque[bytes] = deque()

    def start(self, on_message: OnMessage, on_closed: Callable[[], object]) -> None:
        """Send and receive messages from now on.

        ``on_closed`` is called when the service has closed its end of the pipe, or has ended.
        """

        def receive() -> None:
            while (body := read_frame(self._source)) is not None:
                try:
                    on_message(parse_message(body))
                except Exception:
                    log.exception("service_message_failed")
            on_closed()

        for name, run in (("link-receiver", receive), ("link-sender", self._send_forever)):
            threading.Thread(target=run, name=name, daemon=True).start()

    # Messages to the service

    def send(self, kind: Kind, **fields: object) -> None:
        """Queue a message."""
        self.send_frame(message_frame(kind, **fields))

    def send_frame(self, data: bytes) -> None:
        """Queue the frame of a message."""
        with self._changed:
            self._queue.append(data)
            self._changed.notify()

    def publish(self, execution_id: str, message: Mapping[str, JsonValue]) -> None:
        """Queue a message for the clients of an execution; drop it if too many are queued."""
        if len(self._queue) < MAX_QUEUED_MESSAGES:
            self.send(Kind.PUBLISH, executionId=execution_id, message=message)

    def notify_committed(self, changes: Set[Change]) -> None:
        """Notify the service of committed events."""
        if Change.EVENTS in changes:
            self._signal(Kind.COMMITTED)

    def _signal(self, kind: Kind) -> None:
        with self._changed:
            self._signals[kind] = None
            self._changed.notify()

    def _send_forever(self) -> None:
        with suppress(OSError):  # the service has ended, which the receiver detects too
            while True:
                with self._changed:
                    while not self._queue and not self._signals:
                        self._changed.wait()
                    messages = [*self._queue, *map(message_frame, self._signals)]
                    self._queue.clear()
                    self._signals.clear()
                self._target.write(b"".join(messages))
                self._target.flush()

    # In the event loop of the worker

    async def run_forever(self, state: WorkerState) -> None:
        """Forward the signals of the worker, and end the process if its event loop is blocked."""
        self.send(Kind.OWNER, owner=state.owner)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(state.execution_ended, Kind.ENDED))
                group.create_task(self._forward(state.relatives_changed, Kind.RELATIVES_CHANGED))
                group.create_task(self._stay_alive())
        finally:
            # The rest of the shutdown must end too, also if the service does not exist any more.
            faulthandler.dump_traceback_later(self._blocked_seconds, exit=True)

    async def _forward(self, event: asyncio.Event, kind: Kind) -> None:
        while True:
            await event.wait()
            event.clear()
            self._signal(kind)

    async def _stay_alive(self) -> None:
        """Postpone the end of the process, as long as this event loop runs.

        ``faulthandler`` waits in a thread without the interpreter lock, so that it also ends a
        process in which a handler never releases the lock. It prints the stack of each thread.
        """
        while True:
            faulthandler.dump_traceback_later(self._blocked_seconds, exit=True)
            await asyncio.sleep(min(MAX_ALIVE_INTERVAL_SECONDS, self._blocked_seconds / 4))
