"""Commit signal: notifies subscribers in this process of committed events, from any thread."""

from collections.abc import Callable

HAS_EVENTS = "orchestrator_has_events"
"""Key of a connection's ``info``; it is set if the transaction has appended events."""


class CommitSignal:
    """Signal that the writer sends after each commit with new events."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[], object], ...] = ()

    def send(self) -> None:
        """Call every listener, in the thread that committed."""
        for listener in self._listeners:
            listener()

    def connect(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Register ``listener``, which must return at once and never raise.

        Returns:
            A function that removes it.
        """
        self._listeners = (*self._listeners, listener)

        def disconnect() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return disconnect
