"""Progress view: shows an execution node by node, as bars in a terminal or as plain lines."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

NOT_STARTED = "not yet"
ENDED = frozenset({"completed", "error", "skipped", "cancelled"})
STYLES = {
    "completed": "green",
    "running": "yellow",
    "waiting": "magenta",
    "error": "red",
    "cancelled": "red",
}
_PRECEDENCE = ("error", "running", "waiting", "cancelled")
"""Statuses of a node with several runs, before that of its last run."""
_OTHER_ROWS = 5
"""Rows of the terminal that the nodes do not use."""


def printable(text: object) -> str:
    """Return ``text`` without line breaks and control characters, which a terminal would obey."""
    characters = (character if character.isprintable() else " " for character in str(text))
    return " ".join("".join(characters).split())


@dataclass(slots=True)
class Line:
    """State of one node, with all its runs if it is in a loop."""

    label: str
    status: str = NOT_STARTED
    milliseconds: int | float | None = None
    attempt: int = 1
    note: str = ""
    seen: float = field(default_factory=time.monotonic)
    runs: dict[str, str] = field(default_factory=dict[str, str])

    def update(self, run: Mapping[str, Any]) -> None:
        """Update the state from one node run of the execution's logs."""
        if self.status == NOT_STARTED:
            self.seen = time.monotonic()
        status = str(run.get("status"))
        self.runs[str(run.get("nodeId"))] = status
        statuses = set(self.runs.values()) if len(self.runs) > 1 else {status}
        self.status = next((known for known in _PRECEDENCE if known in statuses), status)
        duration = run.get("duration")
        self.milliseconds = duration if isinstance(duration, int | float) else None
        attempt = run.get("attempt")
        self.attempt = attempt if isinstance(attempt, int) else 1
        self.note = printable(run.get("error") or run.get("message") or "")

    @property
    def word(self) -> str:
        """Return the status, with the number of the attempt after the first."""
        word = f"{self.status} (attempt {self.attempt})" if self.attempt > 1 else self.status
        return f"{word} \N{MULTIPLICATION SIGN}{len(self.runs)}" if len(self.runs) > 1 else word

    @property
    def duration(self) -> str:
        """Return the duration, so far if the node is running."""
        if self.status == "running":
            return f"{time.monotonic() - self.seen:.1f} s"
        if self.milliseconds is None or self.status == "skipped":
            return ""
        return duration_text(self.milliseconds)


def duration_text(milliseconds: float) -> str:
    """Return a duration in seconds, or in milliseconds if it is shorter than a second."""
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds >= 1 else f"{milliseconds:.0f} ms"


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
    bars = _Bars(console, lines)
    with Live(get_renderable=bars.render, console=console, refresh_per_second=12):
        yield bars


@dataclass(slots=True)
class _Bars:
    console: Console
    lines: Mapping[str, Line]
    status: str = "pending"
    percentage: int = 0

    def show(self, status: str, percentage: int) -> None:
        self.status, self.percentage = status, percentage

    def render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for column in ("left", "left", "left", "right"):
            table.add_column(justify=column, no_wrap=True)  # pyright: ignore[reportArgumentType]
        lines, hidden = fitting(list(self.lines.values()), self.console.height - _OTHER_ROWS)
        for line in lines:
            style = STYLES.get(line.status, "dim")
            done = 1 if line.status in ENDED - {"skipped"} else 0
            table.add_row(
                Text(printable(line.label), style="dim" if style == "dim" else ""),
                _bar(1, done, style, pulse=line.status == "running"),
                Text(line.word, style=style),
                line.duration,
            )
        if hidden:
            table.add_row(Text(f"and {hidden} more nodes", style="dim"))
        table.add_row()
        style = "red" if self.status in {"failed", "cancelled"} else "green"
        percentage = Text(f"{self.percentage} %", style="bold")
        whole = _bar(100, self.percentage, style)
        table.add_row(Text("The whole run", style="bold"), whole, self.status, percentage)
        return table


def fitting(lines: list[Line], rows: int) -> tuple[list[Line], int]:
    """Return the lines that fit into ``rows``, and the number of the others.

    Lines that have neither ended nor failed come first, because they show the progress; of those
    that have ended, the last ones. The lines keep their order.
    """
    rows = max(rows, 1)
    if len(lines) <= rows:
        return lines, 0

    def urgency(position: int) -> tuple[int, int]:
        status = lines[position].status
        if status not in ENDED | {NOT_STARTED} or status == "error":
            return 0, position
        return (1, -position) if status in ENDED else (2, position)

    chosen = sorted(sorted(range(len(lines)), key=urgency)[:rows])
    return [lines[position] for position in chosen], len(lines) - rows


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
    printed: dict[str, str] = field(default_factory=dict[str, str])
    printed_of_all: str = ""

    def show(self, status: str, percentage: int) -> None:
        for node_id, line in self.lines.items():
            if line.status not in {NOT_STARTED, self.printed.get(node_id)}:
                self.printed[node_id] = line.status
                duration = line.duration if line.status in ENDED else line.note
                self._print(f"  {printable(line.label)}: {line.word} {duration}".rstrip())
        whole = f"{percentage:3} %  {status}"
        if whole != self.printed_of_all:
            self.printed_of_all = whole
            self._print(whole)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)
