"""Test disks: small mounted disks that can be full or read-only.

They are mounted, because root ignores permissions, and a full disk is more realistic than a mock.
If mounting is not allowed, the test is skipped.
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
        """Fill the disk to the last byte."""
        with self._ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 4_096)
                except OSError:
                    return

    def make_space(self) -> None:
        """Free the space that ``fill`` used."""
        self._ballast.unlink()

    def make_read_only(self) -> None:
        """Remount the disk read-only; no file may be open for writing."""
        _run("mount", "-o", "remount,ro", str(self.path))


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Disk]:
    """Mount a disk of this size at ``directory / "disk"``."""
    path = directory / "disk"
    path.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("the mount command is missing")
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a disk cannot be mounted: {error.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
