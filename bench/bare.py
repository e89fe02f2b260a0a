"""Plain Prefect: runs ``bare_flow`` in a child process, and ends it with the server it started."""

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
    """Results of the plain flows."""

    flows: int
    completed: int
    failed: int
    ready_in: float | None
    """Seconds until the first flow had run, which includes the start of Prefect's server."""
    seconds: float | None
    """From then until the end of the last completed flow."""

    @property
    def per_second(self) -> float | None:
        """Completed flows per second."""
        return self.completed / self.seconds if self.seconds and self.completed else None

    @property
    def lost(self) -> int:
        """Flows that had neither completed nor failed at the time limit."""
        return self.flows - self.completed - self.failed


def bare_flows(directory: Path, flows: int, concurrency: int) -> Bare:
    """Run plain flows on Prefect's own server, for at most ``LIMIT_SECONDS``."""
    output_path = directory / "bare.jsonl"
    begun = time.monotonic()
    with output_path.open("wb") as output, (directory / "bare.log").open("wb") as log:
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
        pass  # its output so far counts
    finally:
        _end(process)
    events = [json.loads(line) for line in output_path.read_text(encoding="utf-8").splitlines()]
    return summary(events, flows, begun)


def summary(events: list[dict[str, Any]], flows: int, begun: float) -> Bare:
    """Return the figures of the script's output; ``begun`` is its start on the same clock."""
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
    """Return an environment with Prefect's defaults, without user settings and external calls."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
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
    """End the process and its child, the server, which would survive a kill of the process."""
    if sys.platform == "win32":
        # The process stops its server at its end; otherwise this command ends both.
        tree = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False)
        process.wait()
        return
    deadline = time.monotonic() + STOP_SECONDS
    # Its process group, whose id is its pid, contains these two processes only.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()  # otherwise it would remain in the group as a zombie
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
