"""Workers of a work pool in separate processes, which tests can kill and stop."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from config import ROOT, Settings
from tests.support.conditions import WAIT_TIMEOUT_SECONDS, wait_until
from tests.support.crash_harness import LEASE_SECONDS, START_SECONDS
from tests.support.warm_processes import WarmProcess

POOL = "tests"
STOCK_WORKER = ("-m", "prefect", "worker", "start", "--type", "process", "--pool", POOL)
"""Arguments of Python for Prefect's own worker, which starts a process for each flow run."""


class PoolWorker:
    """A worker process; its log is a file in ``directory``."""

    module = "start_worker"
    """Module with the function ``main`` of the process."""

    def __init__(self, directory: Path, name: str, **settings: object) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._arguments = ("--pool", POOL, "--name", name)
        self._settings = {
            "prefect_home": directory / "prefect",
            "lease_seconds": LEASE_SECONDS,
            "poll_interval_seconds": 0.1,
            "log_format": "json",
            "http_allowed_hosts": "127.0.0.1",
            **settings,
        }
        self._process: WarmProcess | subprocess.Popen[bytes] | None = None

    def run_process(self) -> Self:
        """Start the process."""
        self.log.touch()
        self._process = WarmProcess(
            self._environment(), self.log, self.module, arguments=self._arguments
        )
        return self

    def run_stock_worker(self) -> Self:
        """Start Prefect's own worker in place of ours."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *STOCK_WORKER],
                cwd=ROOT,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def _environment(self) -> dict[str, str]:
        ours = {name.upper() for name in Settings.model_fields}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name.upper() not in ours and not name.startswith("PREFECT")
        }
        return inherited | {name.upper(): str(value) for name, value in self._settings.items()}

    def wait_ready(self) -> Self:
        """Wait until the worker polls the work pool."""
        wait_until(lambda: self.events("pool_worker_changed") or self._is_dead(), START_SECONDS)
        assert not self._is_dead(), self.log.read_text(encoding="utf-8")
        return self

    def _is_dead(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        if self._process is not None and not self._is_dead():
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(20)

    def stop(self, seconds: float = WAIT_TIMEOUT_SECONDS) -> int:
        """Send SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(seconds)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events with this name."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event.get("event") == name]


@contextmanager
def pool_workers(directory: Path, *names: str, **settings: object) -> Iterator[list[PoolWorker]]:
    """Run workers with these names; kill them at the end."""
    workers = [PoolWorker(directory, name, **settings).run_process() for name in names]
    try:
        yield [worker.wait_ready() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
