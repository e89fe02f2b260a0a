"""Node progress: records the progress of running nodes and publishes their output deltas.

Handlers report progress from any thread and at any rate; a report takes a lock and a comparison.
Progress is recorded at most once per second and node, and for one node of an execution at a time,
so that a step of the execution waits for one report at most. Deltas are combined and published, but
not stored.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping

import structlog

from engine.json_values import JsonValue
from tasks.masking import secret_masker

log = structlog.get_logger()

Publish = Callable[[str, Mapping[str, JsonValue]], None]
"""Publishes a message to the subscribers of an execution, by its id. Any thread may call it; it
returns at once and raises no exceptions. The message has a ``type`` and no sequence number."""

IsCurrent = Callable[[], bool]
"""Returns whether a report still belongs to the current attempt."""

Record = Callable[[int | None, str | None, IsCurrent], Awaitable[None]]
"""Records the percentage and the message of a node, unless ``IsCurrent`` returns false."""

PROGRESS_INTERVAL_SECONDS = 1.0
"""Minimum interval between two recorded reports of a node, in seconds."""

DELTA_FLUSH_SECONDS = 0.05
"""Maximum delay of a delta that is combined with later ones, in seconds."""

MAX_DELTA_CHARS = 2_048
"""Maximum length of a delta, in characters; longer output is published without a delay."""

_Report = tuple[int | None, str | None]
_EMPTY: _Report = (None, None)
_Output = tuple[int | None, int]
"""The output that a delta belongs to: index and question."""


def publish_nowhere(_execution_id: str, _message: Mapping[str, JsonValue]) -> None:
    """Drop the message, for a worker without subscribers."""


class ProgressReporter:
    """Progress of one running execution, for use in the executor's loop."""

    def __init__(self, execution_id: str, publish: Publish) -> None:
        self.execution_id = execution_id
        self.publish = publish
        self.write_lock = asyncio.Lock()
        self.closed = False
        """Whether reports are dropped, because the executor has ended or cancels its nodes."""
        self._writes: set[asyncio.Task[None]] = set()

    def of_node(self, node_id: str, attempts_before: int, record: Record) -> "NodeProgress":
        """Return the progress of a node that starts now."""
        return NodeProgress(self, node_id, attempts_before, record)

    def spawn(self, write: Awaitable[None]) -> None:
        """Run a write that the end of its node must not interrupt."""
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def close(self) -> None:
        """Drop further reports."""
        self.closed = True

    async def settle(self) -> None:
        """Drop further reports and wait for the current writes."""
        self.close()
        if self._writes:
            await asyncio.wait(set(self._writes))


class NodeProgress:
    """Progress of one node run, over all its attempts."""

    def __init__(
        self, reporter: ProgressReporter, node_id: str, attempts_before: int, record: Record
    ) -> None:
        self._reporter = reporter
        self._node_id = node_id
        self.hides_output = False
        """Whether deltas are dropped, because the node hides its output."""
        self._attempt = attempts_before
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._current: AttemptProgress | None = None
        self._latest = _EMPTY
        self._written = _EMPTY
        self._scheduled = False
        """Whether ``_write_if_changed`` is scheduled, at once or after the interval."""

    def begin_attempt(self) -> "AttemptProgress":
        """Return the progress of the attempt that starts now; drop reports of earlier attempts."""
        self._attempt += 1
        with self._lock:
            # The journal removes the report of an attempt when the next one starts.
            self._latest = self._written = _EMPTY
            self._current = AttemptProgress(self, self._attempt, self._loop)
            return self._current

    def end(self, attempt: "AttemptProgress") -> None:
        """Drop further reports of this attempt."""
        with self._lock:
            if self._current is attempt:
                self._current = None

    def progress(
        self, attempt: "AttemptProgress", percentage: int | None, message: str | None
    ) -> None:
        """Accept a report from any thread."""
        with self._lock:
            if self._current is not attempt or self._reporter.closed:
                return
            previous = self._latest
            self._latest = (
                previous[0] if percentage is None else percentage,
                previous[1] if message is None else message or None,
            )
            if self._scheduled or self._latest == self._written:
                return
            self._scheduled = True
        _soon(self._loop, self._write_if_changed)

    def publish(self, attempt: int, output: _Output, text: str) -> None:
        """Publish a delta."""
        if self.hides_output:
            return
        index, question = output
        message: dict[str, JsonValue] = {
            "type": "node_output_delta",
            "executionId": self._reporter.execution_id,
            "nodeId": self._node_id,
            "attempt": attempt,
            "delta": text,
        }
        if index is not None:
            message["index"] = index
        if question > 1:
            message["question"] = question
        try:
            self._reporter.publish(self._reporter.execution_id, message)
        except Exception as error:  # noqa: BLE001 - a node must not fail because of a subscriber
            log.warning("delta_publish_failed", node_id=self._node_id, reason=str(error))

    def _write_if_changed(self) -> None:
        with self._lock:
            if self._current is None or self._reporter.closed or self._latest == self._written:
                self._scheduled = False
                return
        self._reporter.spawn(self._write())

    async def _write(self) -> None:
        """Record the latest report, and check for a newer one after the interval."""
        try:
            async with self._reporter.write_lock:
                with self._lock:
                    attempt = self._current
                    latest = self._latest
                    self._written = latest
                if attempt is not None:
                    percentage, message = latest
                    # Masked again, because the message may have been cut inside a secret.
                    masked = None if message is None else secret_masker.mask_truncated(message)
                    is_current = lambda: self._current is attempt and not self._reporter.closed  # noqa: E731
                    await self._record(percentage, masked, is_current)
        except Exception as error:  # noqa: BLE001 - the executor detects a lost lease itself
            log.warning("progress_write_failed", node_id=self._node_id, reason=str(error))
        self._loop.call_later(PROGRESS_INTERVAL_SECONDS, self._write_if_changed)


class AttemptProgress:
    """Progress of one attempt of a node; see ``tasks.progress.ProgressSink``."""

    def __init__(self, node: NodeProgress, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._number = number
        self._loop = loop
        self._lock = threading.Lock()
        self._parts: dict[_Output, list[str]] = {}
        self._size = 0
        self._flush_scheduled = False
        self._ended = False

    def progress(self, percentage: int | None, message: str | None) -> None:
        """Accept a report."""
        self._node.progress(self, percentage, message)

    def delta(self, text: str, index: int | None, question: int) -> None:
        """Accept a part of the output; publish the parts at once if they are long enough."""
        with self._lock:
            if self._ended:
                return
            self._parts.setdefault((index, question), []).append(text)
            self._size += len(text)
            if self._size >= MAX_DELTA_CHARS:
                self._send()
                return
            if self._flush_scheduled:
                return
            self._flush_scheduled = True
        _soon(self._loop, lambda: self._loop.call_later(DELTA_FLUSH_SECONDS, self._flush))

    def end(self, *, cancelled: bool = False) -> None:
        """Drop further reports. Publish the remaining parts, unless the attempt was cancelled."""
        self._node.end(self)
        with self._lock:
            if not self._ended and not cancelled:
                self._send(last=True)
            self._ended = True
            self._parts.clear()

    def _flush(self) -> None:
        with self._lock:
            self._flush_scheduled = False
            self._send()

    def _send(self, *, last: bool = False) -> None:
        """Publish the parts. The caller holds the lock, so that their order is kept.

        A suffix that may be the start of a secret is kept until the next part.
        """
        parts, self._parts, self._size = self._parts, {}, 0
        for output, texts in parts.items():
            text = secret_masker.mask("".join(texts))
            kept = 0 if last else secret_masker.pending_suffix(text)
            if kept:
                self._parts[output] = [text[-kept:]]
                text = text[:-kept]
            for start in range(0, len(text), MAX_DELTA_CHARS):
                self._node.publish(self._number, output, text[start : start + MAX_DELTA_CHARS])


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # The loop is closed.
        log.debug("progress_dropped")
