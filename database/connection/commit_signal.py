"""The bell: tells who listens in this process that events were committed, from any thread."""

from collections.abc import Callable


class CommitSignal:
    """Rung after each commit that brought events."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[], object], ...] = ()

    def send(self) -> None:
        """Calls every listener, in the thread that committed."""
        for listener in self._listeners:
            listener()

    def connect(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Has ``listener`` called from now on; it must return at once and never raise.

        Returns:
            What ends it.
        """
        self._listeners = (*self._listeners, listener)

        def disconnect() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return disconnect
