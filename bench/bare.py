"""Runs ``bare_flow`` in a process of its own and ends it, with the server that it started."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("bare_flow.py")
LIMIT_SECONDS = 120.0
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Bare:
    """What became of the bare flows."""

    flows: int
    completed: int
    failed: int
    ready_in: float | None
    """Seconds until the first flow had run, which includes the start of Prefect's server."""
    seconds: float | None
    """From then until the last of ``completed``."""

    @property
    def per_second(self) -> float | None:
        """Flows completed a second."""
        return self.completed / self.seconds if self.seconds and self.completed else None

    @property
    def lost(self) -> int:
        """Flows that had neither completed nor failed when the time was up."""
        return self.flows - self.completed - self.failed


def bare_flows(directory: Path, flows: int, concurrency: int) -> Bare:
    """Runs bare flows on Prefect's own server, for ``LIMIT_SECONDS`` at most."""
    said = directory / "bare.jsonl"
    begun = time.monotonic()
    with said.open("wb") as output, (directory / "bare.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(flows), str(concurrency)],
            cwd=directory,
            env=_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            start_new_session=True,
        )
    try:
        process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # what it has said so far counts
    finally:
        _end(process)
    events = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]
    return summary(events, flows, begun)


def summary(events: list[dict[str, Any]], flows: int, begun: float) -> Bare:
    """What the script said, in figures; ``begun`` is when it was started, of the same clock."""
    ready = next((event["at"] for event in events if event["event"] == "ready"), None)
    ends = [event for event in events if event["event"] == "ended"]
    completed = [event["at"] for event in ends if event["completed"]]
    return Bare(
        flows,
        len(completed),
        len(ends) - len(completed),
        None if ready is None else ready - begun,
        completed[-1] - ready if completed and ready is not None else None,
    )


def _environment(directory: Path) -> dict[str, str]:
    """Prefect's defaults: nothing of the user's settings, and nobody is called from outside."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return mine | {
        "PREFECT_HOME": str(directory / "bare-prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and the server, a child of its own that outlives it when it is killed."""
    if sys.platform == "win32":
        # It stops its server on its way out; where it did not get there, both are ended.
        tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False)
        process.wait()
        return
    deadline = time.monotonic() + STOP_SECONDS
    # Its process group, which is named by its pid, holds the two and nobody else.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()  # else it would stay in the group as a zombie
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
