"""Execution signals: stop, drain and resume requests for one running execution.

The executor checks the signals between two steps, so that no transaction is interrupted.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum


class StopReason(StrEnum):
    """Why an executor stops before its plan is complete."""

    CANCEL = "cancel"
    """A client requested it; the execution ends ``cancelled``."""
    TIMEOUT = "timeout"
    """EXECUTION_TIMEOUT_SECONDS passed; the execution ends ``failed``."""
    SHUTDOWN = "shutdown"
    """The service stops; the execution returns to the queue."""
    LEASE_LOST = "lease_lost"
    """Another owner has the execution; nothing more is written."""
    PARKED = "parked"
    """Every remaining node waits for a due time, a resumption or a permit of a limit; the execution
    needs no slot."""
    UNRECORDED = "unrecorded"
    """The database rejected the end of the execution; only this end is tried again, later."""


class ExecutionSignals:
    """Signals of one executor, for use in its event loop."""

    def __init__(self, on_children_changed: Callable[[], object] = lambda: None) -> None:
        self.on_children_changed = on_children_changed
        """Called after a recorded step created or cancelled child executions."""
        self.reason: StopReason | None = None
        """Why the executor must stop, or ``None``."""
        self.uses_limit = False
        """Whether a node run has requested a permit of a limit of several services."""
        self.draining = False
        """Whether no more nodes may start."""
        self.slot_wanted = False
        """Whether another execution needs the slot, if this one only waits for permits."""
        self.in_flight = 0
        """Number of node runs in flight, which may wait for permits."""
        self._changed = asyncio.Event()

    def stop(self, reason: StopReason) -> None:
        """Stop the executor now. The first reason is kept."""
        self.reason = self.reason or reason
        self._changed.set()

    def mark_limited(self) -> None:
        """Record that the execution must stop before its lease expires; see ``heartbeat``."""
        self.uses_limit = True

    def drain(self) -> None:
        """Start no more nodes, and stop the executor when the running ones have ended."""
        self.draining = True
        self._changed.set()

    def request_slot(self) -> None:
        """Park the execution if it only waits for permits."""
        self.slot_wanted = True
        self._changed.set()

    def notify_resumed(self) -> None:
        """Look for resumptions of waiting nodes in the journal."""
        self._changed.set()

    async def wait_for_signal(self) -> None:
        """Wait until a signal was given since the last call."""
        await self._changed.wait()
        self._changed.clear()
