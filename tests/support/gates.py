"""Gates: nodes report that they have started, and wait until a test opens their gate.

The gates of a test are objects of its process. If workers run the nodes in processes of their own,
the gates are files: ``GATES_DIRECTORY`` names a directory, whose file ``current`` contains the name
of the directory of the current test.
"""

import os
import threading
import time
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.support.conditions import wait_until

SECONDS = 40.0
"""Timeout for a node that must start to wait, in seconds."""
OPEN_CHECK_SECONDS = 0.005
"""Pause between two checks of a gate, in seconds."""


class Gates:
    """Named gates of the current test, for nodes of the same process."""

    def __init__(self) -> None:
        self._entered: dict[str, threading.Event] = {}
        self._opened: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.runs: MutableSequence[str] = []
        """The gates in the order in which nodes started to wait."""
        self.left: MutableSequence[str] = []
        """The gates whose nodes were cancelled."""

    def _event(self, events: dict[str, threading.Event], name: str) -> threading.Event:
        with self._lock:
            return events.setdefault(name, threading.Event())

    def enter(self, name: str) -> None:
        """Record that a node waits at its gate."""
        with self._lock:
            self.runs.append(name)
        self._event(self._entered, name).set()

    def is_open(self, name: str) -> bool:
        """Return whether the gate is open."""
        return self._event(self._opened, name).is_set()

    def open(self, *names: str) -> None:
        """Open these gates."""
        for name in names:
            self._event(self._opened, name).set()

    def wait_for(self, *names: str) -> None:
        """Wait until a node waits at each of these gates."""
        for name in names:
            assert self._event(self._entered, name).wait(SECONDS), f"no node waits at gate {name}"

    def wait_open(self, name: str, seconds: float) -> None:
        """Wait in a synchronous handler until the gate is open, at most ``seconds``."""
        self._event(self._opened, name).wait(seconds)


class GateFiles(Gates):
    """Named gates of the current test, for nodes of any process."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.runs = _Lines(directory / "runs")
        self.left = _Lines(directory / "left")

    def _file(self, name: str) -> Path:
        return self._directory / f"open-{quote(name, safe='')}"

    def enter(self, name: str) -> None:
        self.runs.append(name)

    def is_open(self, name: str) -> bool:
        return self._file(name).exists()

    def open(self, *names: str) -> None:
        for name in names:
            self._file(name).touch()

    def wait_for(self, *names: str) -> None:
        for name in names:
            wait_until(lambda: name in self.runs, SECONDS)  # noqa: B023 - called in this iteration

    def wait_open(self, name: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_open(name) and time.monotonic() < deadline:
            time.sleep(OPEN_CHECK_SECONDS)


class _Lines(MutableSequence[str]):
    """Lines of a file, to which several processes append."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []

    def append(self, value: str) -> None:
        # One call of the system writes the line, so that lines of processes do not mix.
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{value}\n".encode())

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def __getitem__(self, index):
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __eq__(self, other: object) -> bool:
        return self._read() == other

    def __repr__(self) -> str:
        return repr(self._read())

    def _unsupported(self, *_: object) -> None:
        raise NotImplementedError("lines are appended only")

    __setitem__ = __delitem__ = insert = _unsupported
    __hash__ = None  # pyright: ignore[reportAssignmentType]


_gates = Gates()


def current_gates() -> Gates:
    """Return the gates of the current test."""
    if directory := os.environ.get("GATES_DIRECTORY"):
        current = (Path(directory) / "current").read_text(encoding="utf-8")
        return GateFiles(Path(directory) / current)
    return _gates


@contextmanager
def fresh_gates() -> Iterator[Gates]:
    """Create new gates; open all of them at the end, so that no node waits forever."""
    global _gates  # noqa: PLW0603 - handlers need access to the object of the test
    if directory := os.environ.get("GATES_DIRECTORY"):
        prepare_gates(Path(directory))
    else:
        _gates = Gates()
    gates = current_gates()
    yield gates
    gates.open(*set(gates.runs))


def prepare_gates(parent: Path) -> None:
    """Create a directory for the next test; nodes read its name when it exists."""
    name = f"{len(list(parent.iterdir()))}"
    (parent / name).mkdir()
    new = parent / "new"
    new.write_text(name, encoding="utf-8")
    new.replace(parent / "current")
