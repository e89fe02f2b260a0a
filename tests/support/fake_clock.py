"""A clock for tests."""

from datetime import UTC, datetime, timedelta


class MovingClock:
    """Stands still until ``advance`` moves it, backwards too."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves the clock."""
        self.now += timedelta(seconds=seconds)
