"""Disks of their own for tests: small ones that fill up, and such that turn read-only.

They are mounted, because permissions do not bind root, and a disk that is full in earnest is no
mock. Where mounting is not allowed, the test is skipped.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leaves no byte free."""
        with self._ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4_096)
                except OSError:
                    return

    def make_space(self) -> None:
        """Undoes ``fill``."""
        self._ballast.unlink()

    def make_read_only(self) -> None:
        """Nothing can be written any more; nobody may have a file open for writing."""
        _run("mount", "-o", "remount,ro", str(self.path))


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of that size at ``directory / "disk"``."""
    path = directory / "disk"
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a disk of its own cannot be mounted here: {error.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
