"""Errors of the command line: each has an exit code, and its message is for the terminal."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``./wf``. Scripts rely on them, and ``./wf --help`` lists them."""

    DONE = 0
    """The command succeeded; a followed execution completed, a document is valid."""
    FAILED = 1
    """A followed execution failed, or a document is invalid."""
    REJECTED = 2
    """An argument is wrong, or the service rejected the request because of its content."""
    CANCELLED = 3
    """A followed execution was cancelled."""
    UNAVAILABLE = 4
    """No service responds, it cannot respond now, or it does not accept the key."""
    INTERRUPTED = 130
    """Ctrl-C, as in shells."""


class CommandError(Exception):
    """The command cannot continue; the message is the reason."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


class ConnectionLostError(CommandError):
    """The service does not respond; a repetition may succeed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.UNAVAILABLE)
