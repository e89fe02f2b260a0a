"""Warm processes: start a service by a fork of a process that has imported all of its modules.

Imports take most of the three seconds of CPU time that a new interpreter needs, and crash tests
start more than a hundred services. The parent process is single-threaded, imports the modules
once, and then forks a child for each request that it reads from its input.
"""

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from config import ROOT

POLL_INTERVAL_SECONDS = 0.005


class WarmProcess:
    """A child of the warm parent; has the methods of ``subprocess.Popen`` that tests use."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        module: str = "tests.support.launcher",
        directory: Path = ROOT,
        arguments: Sequence[str] = (),
    ) -> None:
        """Run ``main`` of ``module`` with these arguments of the command line.

        It runs in ``directory``; ``log`` gets its output and its errors.
        """
        self._parent = _warm_parent()
        self.pid = self._parent.fork(
            environment=dict(environment),
            log=str(log),
            module=module,
            directory=str(directory),
            arguments=list(arguments),
        )

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; ``None`` while the process runs."""
        return self._parent.exit_code(self.pid)

    def wait(self, seconds: float) -> int:
        """Return the exit code after the process has ended.

        Raises:
            subprocess.TimeoutExpired: If it still runs after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("service", seconds)
            time.sleep(POLL_INTERVAL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal if the process has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


class _WarmParent:
    """The client of the parent process. Its methods may be called in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exit_codes: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_processes"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._responses = self._process.stdin, self._process.stdout
        atexit.register(self.close)

    def fork(self, **arguments: object) -> int:
        """Start a child with these arguments of ``_run``, and return its process id."""
        return self._request(**arguments)["pid"]

    def exit_code(self, pid: int) -> int | None:
        """Return the exit code of a child; ``None`` while it runs."""
        if pid not in self._exit_codes:
            ended = self._request()["ended"]
            self._exit_codes |= {int(child): code for child, code in ended.items()}
        return self._exit_codes.get(pid)

    def _request(self, **request: object) -> dict[str, Any]:
        with self._lock:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            return json.loads(self._responses.readline())

    def close(self) -> None:
        """End the parent process."""
        self._requests.close()
        self._responses.close()
        self._process.wait()


@cache
def _warm_parent() -> _WarmParent:
    return _WarmParent()


def main() -> None:
    """Import the modules of the service, and fork a child for each request."""
    from flows.prefect_adapter.environment import prepare_prefect  # noqa: PLC0415 - before Prefect

    prepare_prefect(None, Path(tempfile.mkdtemp(prefix="prefect-")))
    import api.server  # noqa: F401, PLC0415
    import api_service  # noqa: F401, PLC0415
    import start_service  # noqa: F401, PLC0415
    import start_worker  # noqa: F401, PLC0415
    import tasks.plugins  # noqa: F401, PLC0415

    assert threading.active_count() == 1, "a fork would lose the other threads"
    while line := sys.stdin.readline():
        request = json.loads(line)
        if request:
            pid = os.fork()
            if pid == 0:
                _run(**request)
            response: dict[str, Any] = {"pid": pid}
        else:
            response = {"ended": dict(_ended_children())}
        print(json.dumps(response), flush=True)


def _ended_children() -> list[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, os.waitstatus_to_exitcode(status)))


def _run(
    environment: dict[str, str], log: str, module: str, directory: str, arguments: Sequence[str]
) -> None:
    from start_service import exit_process  # noqa: PLC0415 - see ``main``

    try:
        os.chdir(directory)
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(environment)
        main = importlib.import_module(module).main
        exit_process(lambda: main(arguments) if arguments else main())
    finally:
        os._exit(70)  # only if the service could not be started


if __name__ == "__main__":
    main()
