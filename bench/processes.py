"""Processes: the processor time and the memory of a service with its child processes (Linux)."""

import os
from contextlib import suppress
from pathlib import Path

_MB = 1024
"""The kernel reports memory in KiB."""


def cpu_seconds(pid: int) -> float | None:
    """Return the processor time of a process and its children; ``None`` without ``/proc``."""
    ticks = 0
    for member in _tree(pid):
        try:
            fields = _read(member, "stat").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended, and the parent counts its time
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else None


def resident_mb(pid: int) -> float | None:
    """Return the memory of a process and its children, in MB; ``None`` without ``/proc``."""
    total = 0
    for member in _tree(pid):
        try:
            lines = _read(member, "status").splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total / _MB if total else None


def _tree(pid: int) -> list[int]:
    """Return the process and its descendants."""
    members = [pid]
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    for thread in threads:  # each thread has its own list of the processes that it started
        with suppress(OSError):
            for child in _read(pid, f"task/{thread.name}/children").split():
                members += _tree(int(child))
    return members


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
