"""Deferred steps: steps of pure nodes that are recorded together with later steps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from database.executions.journal_records import NodeChanges, RecordedStep
from flows.execution.signals import ExecutionSignals

MAX_DEFERRED_ROWS = 100
"""Maximum number of rows of deferred steps."""
MAX_DEFERRED_CHARACTERS = 262_144
"""Maximum length of the inputs and outputs of a deferred step, because they stay in memory."""
MAX_STEP_DELAY_SECONDS = 0.02
"""Maximum time after which deferred steps are recorded, in seconds."""


class DeferredSteps:
    """Steps of one execution that are not recorded yet, for use in its event loop.

    One execution of an event loop at a time has deferred steps, and holds ``turn`` while it has
    them. Otherwise the steps of many executions would alternate, and the time of each execution
    would be over after a few steps.
    """

    def __init__(
        self, turn: asyncio.Lock, signals: ExecutionSignals, record: Callable[[], Awaitable[None]]
    ) -> None:
        """``record`` takes and records the steps when the time of the first one is over.

        If it raises an exception, the executor is notified by ``signals``.
        """
        self._turn = turn
        self._signals = signals
        self._record = record
        self._steps: list[RecordedStep] = []
        self._timer: asyncio.TimerHandle | None = None
        self._recording: asyncio.Task[None] | None = None
        self.failed = False
        """Whether the steps could not be recorded, so that the next record must include them."""

    def __bool__(self) -> bool:
        return bool(self._steps)

    async def may_add(self, changes: NodeChanges, *, patient: bool) -> bool:
        """Return whether a step with these changes may be deferred; ``add`` must follow then.

        If it is the first one, and another execution has deferred steps, a ``patient`` caller waits
        for them to be recorded, unless its execution must stop.
        """
        rows = len(changes) + sum(len(step.changes) for step in self._steps)
        if self.failed or self._must_stop or rows > MAX_DEFERRED_ROWS:
            return False
        if changes.characters > MAX_DEFERRED_CHARACTERS:
            return False
        if self._steps:
            return True
        if self._turn.locked():
            return patient and await self._wait_for_turn()
        return await self._turn.acquire()

    def add(self, step: RecordedStep) -> None:
        """Defer a step, for MAX_STEP_DELAY_SECONDS at most."""
        self._steps.append(step)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(MAX_STEP_DELAY_SECONDS, self._start)

    def take(self) -> list[RecordedStep]:
        """Remove and return the steps, which the caller records now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._steps and not self.failed:
            self._turn.release()
        steps, self._steps, self.failed = self._steps, [], False
        return steps

    def put_back(self, steps: Sequence[RecordedStep]) -> None:
        """Return steps that could not be recorded; no more are deferred until they are."""
        self._steps, self.failed = list(steps), True

    async def close(self) -> None:
        """Drop the steps, and wait until none is being recorded."""
        self.take()
        if self._recording is not None:
            await asyncio.wait([self._recording])
            self.take()

    async def _wait_for_turn(self) -> bool:
        """Return true when this execution has the turn, or false when it must stop."""
        turn = asyncio.ensure_future(self._turn.acquire())
        signalled = False
        try:
            while not (turn.done() or self._must_stop):
                signal = asyncio.ensure_future(self._signals.wait_for_signal())
                try:
                    await asyncio.wait([turn, signal], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    signalled = signalled or signal.done()
                    signal.cancel()
        except asyncio.CancelledError:
            if turn.done():
                self._turn.release()
            raise
        finally:
            if signalled:
                self._signals.notify_resumed()  # because the executor needs the signal too
            if not turn.done():
                turn.cancel()
        return turn.done()

    @property
    def _must_stop(self) -> bool:
        return self._signals.reason is not None or self._signals.draining

    def _start(self) -> None:
        self._timer = None
        self._recording = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._record()
        except Exception:  # noqa: BLE001 - the next record of the executor raises it again
            self._signals.notify_resumed()
