"""``./start.sh demo``: ends after its workflow, by Enter or by a signal, and leaves no file."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from config import ROOT
from tests.support.service import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.name == "nt", reason="Windows has neither terminals nor these signals"),
]
SECONDS = 90.0
"""Timeout for the start and the run on a busy machine, in seconds."""


class Demo:
    """Demo in a separate process, with or without a terminal."""

    def __init__(self, directory: Path, stdin: int, stdout: int) -> None:
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        names = {"TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "start_service.py"), "demo"],
            env={**os.environ, **names},
            cwd=ROOT,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def files(self) -> list[str]:
        """Return the names of the existing directories."""
        return sorted(path.name for path in self.temporary.iterdir())

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> None:
        """Send a signal to the demo and to its service, as a terminal does."""
        os.killpg(self.process.pid, how)


@contextmanager
def demo(
    directory: Path, stdin: int = subprocess.DEVNULL, stdout: int | None = None
) -> Iterator[Demo]:
    """Run the demo; its output is written to a file next to its directory."""
    with (directory / "printed").open("wb") as printed:
        running = Demo(directory, stdin, printed.fileno() if stdout is None else stdout)
        try:
            yield running
        finally:
            running.process.kill()
            running.process.wait()


def printed(directory: Path) -> str:
    return (directory / "printed").read_text(encoding="utf-8", errors="replace")


def test_the_demo_runs_its_workflow_and_leaves_no_file(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        assert running.process.wait(SECONDS) == 0
        assert running.files() == []
    assert '"note": "order 40 more coffee beans, 1 kg"' in printed(tmp_path)


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_no_file_remains_after_a_signal(tmp_path: Path, how: str, code: int) -> None:
    with demo(tmp_path) as running:
        wait_until(lambda: "A shop for the workflow" in printed(tmp_path), SECONDS)
        assert len(running.files()) == 1
        running.interrupt(getattr(signal, how))
        if how == "SIGINT":
            running.interrupt()  # again, during the cleanup
        assert running.process.wait(SECONDS) == code
        assert running.files() == []


def test_in_a_terminal_the_printed_commands_work_until_enter(tmp_path: Path) -> None:
    terminal, demo_terminal = os.openpty()
    text = ""
    try:
        with demo(tmp_path, demo_terminal, demo_terminal) as running:

            def read() -> bool:
                nonlocal text
                text += os.read(terminal, 65_536).decode(errors="replace")
                return "Enter ends the demo" in text

            wait_until(read, SECONDS)
            addresses = re.findall(r"curl -s (\S+)", text)
            assert len(addresses) == 2
            answers = [httpx.get(address, trust_env=False) for address in addresses]
            assert answers[0].json()["status"] == "completed"
            assert len(answers[1].json()["logs"]) == 13
            found = re.search(r'sqlite3 (\S+) "(.+?)"', text)
            assert found
            assert Path(found[1]).is_file()
            os.write(terminal, b"\n")
            assert running.process.wait(SECONDS) == 0
            assert running.files() == []
    finally:
        os.close(terminal)
        os.close(demo_terminal)
