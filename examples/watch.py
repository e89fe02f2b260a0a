"""Progress view: shows an execution node by node, as bars in a terminal or as plain lines."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

NOT_STARTED = "not yet"
ENDED = frozenset({"completed", "error", "skipped", "cancelled"})
STYLES = {"completed": "green", "running": "yellow", "error": "red", "cancelled": "red"}


@dataclass(slots=True)
class Line:
    """State of one node."""

    label: str
    status: str = NOT_STARTED
    milliseconds: int | None = None
    attempt: int = 1
    seen: float = field(default_factory=time.monotonic)

    def update(self, status: str, milliseconds: int | None, attempt: int | None) -> None:
        """Update the state from one row of the execution's logs."""
        if self.status == NOT_STARTED:
            self.seen = time.monotonic()
        self.status, self.milliseconds, self.attempt = status, milliseconds, attempt or 1

    @property
    def word(self) -> str:
        """Return the status, with the number of the attempt after the first."""
        return f"{self.status} (attempt {self.attempt})" if self.attempt > 1 else self.status

    @property
    def duration(self) -> str:
        """Return the duration, so far if the node is running."""
        if self.status == "running":
            return f"{time.monotonic() - self.seen:.1f} s"
        if self.milliseconds is None or self.status == "skipped":
            return ""
        seconds = self.milliseconds / 1000
        return f"{seconds:.1f} s" if seconds >= 1 else f"{self.milliseconds} ms"


class View(Protocol):
    """Output of the lines."""

    def show(self, status: str, percentage: int) -> None:
        """Show the current lines, and the status and percentage of the execution."""


@contextmanager
def watching(console: Console, lines: Mapping[str, Line]) -> Generator[View]:
    """Yield a view of ``lines`` by node id: live in a terminal, otherwise line by line."""
    if not console.is_terminal:
        yield _Plain(console, lines)
        return
    bars = _Bars(lines)
    with Live(get_renderable=bars.render, console=console, refresh_per_second=12):
        yield bars


@dataclass(slots=True)
class _Bars:
    lines: Mapping[str, Line]
    status: str = "pending"
    percentage: int = 0

    def show(self, status: str, percentage: int) -> None:
        self.status, self.percentage = status, percentage

    def render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for column in ("left", "left", "left", "right"):
            table.add_column(justify=column, no_wrap=True)  # pyright: ignore[reportArgumentType]
        for line in self.lines.values():
            done = 1 if line.status in ENDED - {"skipped"} else 0
            style = STYLES.get(line.status, "dim")
            table.add_row(
                Text(line.label, style="dim" if style == "dim" else ""),
                _bar(1, done, style, pulse=line.status == "running"),
                Text(line.word, style=style),
                line.duration,
            )
        table.add_row()
        style = "red" if self.status in {"failed", "cancelled"} else "green"
        percentage = Text(f"{self.percentage} %", style="bold")
        whole = _bar(100, self.percentage, style)
        table.add_row(Text("The whole run", style="bold"), whole, self.status, percentage)
        return table


def _bar(total: int, completed: int, style: str, *, pulse: bool = False) -> ProgressBar:
    return ProgressBar(
        total=total,
        completed=completed,
        width=28,
        pulse=pulse,
        complete_style=style,
        finished_style=style,
        pulse_style=style,
    )


@dataclass(slots=True)
class _Plain:
    console: Console
    lines: Mapping[str, Line]
    said: dict[str, str] = field(default_factory=dict[str, str])
    said_of_all: str = ""

    def show(self, status: str, percentage: int) -> None:
        for node_id, line in self.lines.items():
            if line.status not in {NOT_STARTED, self.said.get(node_id)}:
                self.said[node_id] = line.status
                duration = line.duration if line.status in ENDED else ""
                self._say(f"  {line.label}: {line.word} {duration}".rstrip())
        whole = f"{percentage:3} %  {status}"
        if whole != self.said_of_all:
            self.said_of_all = whole
            self._say(whole)

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)
