"""Telling a walk what happened outside. It is told, not cut off: no write of it breaks midway."""

import asyncio
from collections.abc import Callable
from enum import StrEnum


class StopReason(StrEnum):
    """Why a walk stops before its plan is done."""

    CANCEL = "cancel"
    """Somebody asked for it; the execution ends ``cancelled``."""
    TIMEOUT = "timeout"
    """It took longer than an execution may; it ends ``failed``."""
    SHUTDOWN = "shutdown"
    """The service stops; the execution goes back to the queue."""
    LEASE_LOST = "lease_lost"
    """Somebody else decided; nothing more is written."""
    PARKED = "parked"
    """All that is left waits for a moment or for people; it holds no slot meanwhile."""


class ExecutionSignals:
    """One walk's ear, and its voice. Its methods are called in the walk's own loop."""

    def __init__(self, on_children_changed: Callable[[], object] = lambda: None) -> None:
        self.on_children_changed = on_children_changed
        """Says that a step of the walk gave others something to do, once it is recorded."""
        self._reason: StopReason | None = None
        self._draining = False
        self._news = asyncio.Event()

    def stop(self, reason: StopReason) -> None:
        """Asks the walk to stop now. The first reason given is the one that counts."""
        self._reason = self._reason or reason
        self._news.set()

    def drain(self) -> None:
        """Asks the walk to start nothing more, and to stop when what runs has ended."""
        self._draining = True
        self._news.set()

    def notify_resumed(self) -> None:
        """There may be an answer for a node that waits."""
        self._news.set()

    @property
    def reason(self) -> StopReason | None:
        """Why the walk shall stop, or ``None``."""
        return self._reason

    @property
    def draining(self) -> bool:
        """Whether nothing more shall start."""
        return self._draining

    async def wait_for_signal(self) -> None:
        """Returns as soon as something happened since the last call."""
        await self._news.wait()
        self._news.clear()
