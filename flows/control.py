"""Telling a walk to stop. It is told, not cut off, so that no write of it breaks in the middle."""

import asyncio
from enum import StrEnum


class StopReason(StrEnum):
    """Why a walk stops before its plan is done."""

    CANCEL = "cancel"
    """Somebody asked for it; the execution ends ``cancelled``."""
    SHUTDOWN = "shutdown"
    """The service stops; the execution goes back to the queue."""
    LEASE_LOST = "lease_lost"
    """Somebody else decided; nothing more is written."""


class RunControl:
    """One walk's ear. The first reason given is the one that counts."""

    def __init__(self) -> None:
        self._stopped: asyncio.Future[StopReason] = asyncio.get_running_loop().create_future()

    def stop(self, reason: StopReason) -> None:
        """Asks the walk to stop; call it in the walk's own loop."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    @property
    def reason(self) -> StopReason | None:
        """Why the walk shall stop, or ``None``."""
        return self._stopped.result() if self._stopped.done() else None

    @property
    def stopped(self) -> asyncio.Future[StopReason]:
        """Done as soon as there is a reason to stop."""
        return self._stopped
