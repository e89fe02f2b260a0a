"""File modes: creates files that only their owner reads, and checks who can write a file."""

import os
import stat
from contextlib import suppress
from pathlib import Path

PRIVATE_MODE = 0o600
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
"""Mode bits that let users other than the owner write."""


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read and write, unless it exists already.

    The mode is set by the call that creates the file, so that no other process can open it in
    between, and no umask makes it wider. A file that exists keeps its mode. Errors are ignored,
    because the program that opens the file next reports them.
    """
    with suppress(OSError):
        # For a symbolic link to a missing file, this creates the file that the link names.
        target = os.path.realpath(path)
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_MODE))


def insecure_mode_reason(path: Path, forbidden: int = OTHERS_WRITE) -> str | None:
    """Return why a file is not safe for keys or secrets; ``None`` if it is safe.

    A file that does not exist or cannot be read has no reason; its reader reports the error. On
    Windows the mode contains nothing about other users.
    """
    if os.name == "nt":
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not mode & forbidden:
        return None
    shown = f"{stat.S_IMODE(mode):04o}"
    return f"other users can write {path} (mode {shown}); run: chmod go-w {path.name}"
