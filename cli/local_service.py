"""Local service: runs the service as a child process for the duration of a command."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cli.client import ServiceClient
from cli.errors import CommandError, ExitCode

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60.0
"""Timeout for the start of the service, in seconds; its imports are slow on a cold disk."""
STOP_TIMEOUT_SECONDS = 20.0
"""Timeout for the stop of the service, in seconds; then it is killed."""
POLL_INTERVAL_SECONDS = 0.05


@contextmanager
def running_service(
    settings: Mapping[str, str], log: Path, key: str | None = None
) -> Generator[ServiceClient]:
    """Yield a client of a service that runs during the block.

    Args:
        settings: settings that take precedence over the environment and ``.env``.
        log: file for the log of the service.
        key: API key of the client.

    Raises:
        CommandError: If the service does not start; it contains the end of the log.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        **settings,
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
    }
    with log.open("wb") as output:
        # The service stops when its standard input closes, so also if this process is killed.
        # In a group of its own, it does not receive Ctrl-C, after which it must finish its work.
        service = subprocess.Popen(  # noqa: S603 - our own service
            [sys.executable, str(ROOT / "start_service.py"), "--until-stdin-closes"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    try:
        with ServiceClient(f"http://127.0.0.1:{port}", key) as client:
            _wait_until_running(client, service, log)
            yield client
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave the service
        _stop(service)


def leave_on_signals() -> None:
    """Convert signals that end this process into exceptions, so that the service is stopped."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), _leave)


def _wait_until_running(
    client: ServiceClient, service: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            reason = f"the service ended with status {service.returncode} at its start"
            raise CommandError(f"{reason}{_end_of(log)}", ExitCode.UNAVAILABLE)
        if client.is_running():
            return
        time.sleep(POLL_INTERVAL_SECONDS)
    reason = f"the service is not running after {START_TIMEOUT_SECONDS:.0f} s"
    raise CommandError(f"{reason}{_end_of(log)}", ExitCode.UNAVAILABLE)


def _stop(service: "subprocess.Popen[bytes]") -> None:
    """Stop the service, and kill it if it does not end."""
    if service.stdin is not None:
        with suppress(OSError):  # the service has ended
            service.stdin.close()
    try:
        service.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def _end_of(log: Path, lines: int = 20) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return f"\nThe end of its log, {log}:\n" + "\n".join(text or ["(it is empty)"])


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
