"""Fake clock: a clock that only tests move."""

from datetime import UTC, datetime, timedelta


class MovingClock:
    """Clock that only changes when ``advance`` moves it, also backwards."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.now += timedelta(seconds=seconds)
