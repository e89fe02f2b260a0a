"""What nodes report from the inside, on its way out: into the journal, throttled, and to streams.

Handlers report from any thread and as often as they like; here it costs them a lock and a
comparison. Progress is written by the walk, at most once a second and node, and one node of an
execution at a time, so that the walk's own writes wait for one report at most. Deltas are put
together and published; nobody stores them.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar

import structlog

from engine.json_values import JsonValue
from tasks.masking import secret_masker

log = structlog.get_logger()

Publish = Callable[[str, Mapping[str, JsonValue]], None]
"""Hands a message to those who watch an execution, by its id. Any thread may call it; it returns at
once and never raises. The message has a ``type`` and stands outside of the event sequence."""

Wanted = Callable[[], bool]
Record = Callable[[int | None, str | None, Wanted], Awaitable[None]]
"""Journals percentage and message of a node, unless ``Wanted`` says no at the last moment."""

PROGRESS_INTERVAL_SECONDS = 1.0
"""The least time between two reports of a node in the journal."""

DELTA_FLUSH_SECONDS = 0.05
"""How long a delta waits for others."""

MAX_DELTA_CHARS = 2_048
"""Characters of a delta; as many are sent without waiting."""

_Report = tuple[int | None, str | None]
_NOTHING: _Report = (None, None)
_Output = tuple[int | None, int]
"""Which output a delta is a piece of: index and question."""


def publish_nowhere(_execution_id: str, _message: Mapping[str, JsonValue]) -> None:
    """For a runner that nobody watches."""


class ProgressReporter:
    """The reports of one execution, while a walk carries it. Made and closed in the walk's loop."""

    def __init__(self, execution_id: str, publish: Publish) -> None:
        self.execution_id = execution_id
        self.publish = publish
        self.turn = asyncio.Lock()
        self.closed = False
        """Whether nothing more is taken: the walk is over, or about to stop its nodes."""
        self._writes: set[asyncio.Task[None]] = set()

    def of_node(self, node_id: str, attempts_before: int, record: Record) -> "NodeProgress":
        """For a node that starts now."""
        return NodeProgress(self, node_id, attempts_before, record)

    def spawn(self, write: Awaitable[None]) -> None:
        """Runs a write that no node's end may break in the middle."""
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def close(self) -> None:
        """Takes nothing more."""
        self.closed = True

    async def settle(self) -> None:
        """Closes, and comes back when no write is under way."""
        self.close()
        if self._writes:
            await asyncio.wait(set(self._writes))


class NodeProgress:
    """The reports of one node run, over all its attempts."""

    def __init__(
        self, reports: ProgressReporter, node_id: str, attempts_before: int, record: Record
    ) -> None:
        self._reports = reports
        self._node_id = node_id
        self.hides_output = False
        """Whether the node's output is not to be readable: its deltas are dropped."""
        self._attempt = attempts_before
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._live: AttemptProgress | None = None
        self._latest = _NOTHING
        self._written = _NOTHING
        self._looking = False
        """Whether somebody is to look for a report that is not written: soon, or in a second."""

    def begin_attempt(self) -> "AttemptProgress":
        """For the attempt that starts now; the one before it is not heard any more."""
        self._attempt += 1
        with self._lock:
            # The journal forgets the last attempt's report with that attempt.
            self._latest = self._written = _NOTHING
            self._live = AttemptProgress(self, self._attempt, self._loop)
            return self._live

    def end(self, attempt: "AttemptProgress") -> None:
        """Takes nothing more of this attempt."""
        with self._lock:
            if self._live is attempt:
                self._live = None

    def progress(
        self, attempt: "AttemptProgress", percentage: int | None, message: str | None
    ) -> None:
        """Takes a report; may be called from any thread."""
        with self._lock:
            if self._live is not attempt or self._reports.closed:
                return
            before = self._latest
            self._latest = (
                before[0] if percentage is None else percentage,
                before[1] if message is None else message or None,
            )
            if self._looking or self._latest == self._written:
                return
            self._looking = True
        _soon(self._loop, self._look)

    def publish(self, attempt: int, output: _Output, text: str) -> None:
        """Sends a delta out."""
        if self.hides_output:
            return
        index, question = output
        message: dict[str, JsonValue] = {
            "type": "node_output_delta",
            "executionId": self._reports.execution_id,
            "nodeId": self._node_id,
            "attempt": attempt,
            "delta": text,
        }
        if index is not None:
            message["index"] = index
        if question > 1:
            message["question"] = question
        try:
            self._reports.publish(self._reports.execution_id, message)
        except Exception as error:  # noqa: BLE001 - no node fails for those who watch it
            log.warning("delta_publish_failed", node_id=self._node_id, reason=str(error))

    def _look(self) -> None:
        with self._lock:
            if self._live is None or self._reports.closed or self._latest == self._written:
                self._looking = False
                return
        self._reports.spawn(self._write())

    async def _write(self) -> None:
        """Writes the last report, and has somebody look for a newer one in a second."""
        try:
            async with self._reports.turn:
                with self._lock:
                    attempt = self._live
                    latest = self._latest
                    self._written = latest
                if attempt is not None:
                    percentage, message = latest
                    # It may have been cut in the middle of a secret.
                    shown = None if message is None else secret_masker.mask_truncated(message)
                    wanted = lambda: self._live is attempt and not self._reports.closed  # noqa: E731
                    await self._record(percentage, shown, wanted)
        except Exception as error:  # noqa: BLE001 - the walk finds out by itself; no node fails
            log.warning("progress_write_failed", node_id=self._node_id, reason=str(error))
        self._loop.call_later(PROGRESS_INTERVAL_SECONDS, self._look)


class AttemptProgress:
    """What one attempt of a node reports; see ``tasks.progress.ProgressSink``."""

    def __init__(self, node: NodeProgress, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._number = number
        self._loop = loop
        self._lock = threading.Lock()
        self._pieces: dict[_Output, list[str]] = {}
        self._size = 0
        self._waiting = False
        self._over = False

    def progress(self, percentage: int | None, message: str | None) -> None:
        """Takes a report."""
        self._node.progress(self, percentage, message)

    def delta(self, text: str, index: int | None, question: int) -> None:
        """Takes a piece of output, and sends what there is when it is enough."""
        with self._lock:
            if self._over:
                return
            self._pieces.setdefault((index, question), []).append(text)
            self._size += len(text)
            if self._size >= MAX_DELTA_CHARS:
                self._send()
                return
            if self._waiting:
                return
            self._waiting = True
        _soon(self._loop, lambda: self._loop.call_later(DELTA_FLUSH_SECONDS, self._flush))

    def end(self, *, cut_off: bool = False) -> None:
        """Takes nothing more. What is left is sent, or dropped where the attempt was cut off."""
        self._node.end(self)
        with self._lock:
            if not self._over and not cut_off:
                self._send(last=True)
            self._over = True
            self._pieces.clear()

    def _flush(self) -> None:
        with self._lock:
            self._waiting = False
            self._send()

    def _send(self, *, last: bool = False) -> None:
        """Under the lock, so that no later piece comes before an earlier one.

        What may be the beginning of a secret stays until it is known what follows.
        """
        pieces, self._pieces, self._size = self._pieces, {}, 0
        for output, texts in pieces.items():
            text = secret_masker.mask("".join(texts))
            kept = 0 if last else secret_masker.pending_suffix(text)
            if kept:
                self._pieces[output] = [text[-kept:]]
                text = text[:-kept]
            for start in range(0, len(text), MAX_DELTA_CHARS):
                self._node.publish(self._number, output, text[start : start + MAX_DELTA_CHARS])


node_progress: ContextVar[NodeProgress | None] = ContextVar("node_progress", default=None)
"""Set around all attempts of a node; without it they report to nobody."""


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # The loop is closed: nobody listens any more.
        log.debug("progress_dropped")
