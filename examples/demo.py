"""Demo: starts the service and runs a workflow (``./start.sh demo``).

Opens a small shop (``examples/shop.py``), starts the service on a database of its own, saves
``examples/demo-workflows/morning-report.json`` there and runs it over HTTP, and shows every node as
it goes. In a terminal the service then stays up until Enter, so that the printed commands work. No
file remains.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx
from rich.console import Console

from examples.shop import open_shop, pages_of
from examples.watch import Line, watching

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "examples" / "demo-workflows" / "morning-report.json"
"""Calls the shop, which exists only in the demo; other databases do not contain it."""

START_SECONDS = 60.0
"""Timeout for the start of the service, in seconds; its imports are slow on a cold disk."""
RUN_SECONDS = 60.0
"""Timeout for the workflow, which takes about three seconds."""
STOP_SECONDS = 20.0
"""Timeout for the stop of the service, before it is killed, in seconds."""
POLL_SECONDS = 0.1

TERMINAL = frozenset({"completed", "failed", "cancelled"})


class DemoError(Exception):
    """The demo cannot continue; the message is the reason."""


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; return 0 if the workflow completed, 1 if not, 130 if interrupted."""
    argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__).parse_args(
        list(arguments)
    )
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), _leave)
    # Otherwise a Windows code page could not print the units of the report.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    console = Console(highlight=False)
    try:
        with _working_directory() as directory:
            return run(console, directory / "demo.sqlite", directory / "service.log")
    except DemoError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def run(console: Console, database: Path, log: Path) -> int:
    """Start shop and service, run the workflow, and print further commands.

    Raises:
        DemoError: If the workflow does not complete.
    """
    workflow: dict[str, Any] = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    with open_shop() as shop_url:
        console.print(f"A shop for the workflow to ask: {shop_url}")
        with running_service(database, log) as client:
            console.print(f"The service, on a database of its own: {client.base_url}\n")
            console.print(f"{workflow['name']}", style="bold")
            execution = execute(client, console, workflow, {"shop": pages_of(shop_url)})
            if execution["status"] != "completed":
                raise DemoError(f"the execution is {execution['status']}: {execution.get('error')}")
            console.print("\nFinal output", style="bold")
            console.print_json(data=execution["finalOutput"])
            if sys.stdin.isatty() and sys.stdout.isatty():
                _look_further(console, client, database, str(execution["executionId"]))
            else:
                console.print(
                    "\nIn a terminal, the service keeps running here until you press Enter."
                )
    return 0


@contextmanager
def _working_directory() -> Generator[Path]:
    """Create a directory that is removed at the end with its content."""
    directory = Path(tempfile.mkdtemp(prefix="workflow-demo-"))
    try:
        yield directory
    finally:
        # A second Ctrl-C must not leave a part of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_service(database: Path, log: Path) -> Generator[httpx.Client]:
    """Yield a client for the service, which runs as a child process during the block.

    Raises:
        DemoError: it does not start, or stops answering; quotes the end of its log.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        service = subprocess.Popen(
            [sys.executable, str(ROOT / "start_service.py")],
            cwd=ROOT,
            env=_environment(database, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        # A proxy of the user must not be used for loopback.
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            _wait_until_running(client, service, log)
            yield client
    except httpx.HTTPError as error:
        raise DemoError(f"the service does not answer: {error!r}{_end_of(log)}") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave the service
        _stop(service)


def execute(
    client: httpx.Client, console: Console, workflow: dict[str, Any], inputs: dict[str, Any]
) -> dict[str, Any]:
    """Submit the workflow, show its nodes until it ends, and return the last polling response.

    Raises:
        DemoError: the submission is refused, or the execution takes too long.
    """
    saved = {key: workflow[key] for key in ("id", "name", "tags", "data")}
    _answer(client.post("/api/workflows", json=saved))
    body = {"workflowId": workflow["id"], "inputs": inputs}
    execution_id = _answer(client.post("/api/workflows/execute", json=body))["executionId"]
    lines = {node["id"]: Line(node["label"]) for node in workflow["data"]["nodes"]}
    deadline = time.monotonic() + RUN_SECONDS
    with watching(console, lines) as view:
        while True:
            execution = _answer(client.get(f"/api/executions/{execution_id}"))
            for row in _answer(client.get(f"/api/executions/{execution_id}/logs"))["logs"]:
                if line := lines.get(row["nodeId"]):
                    line.update(row["status"], row["duration"], row.get("attempt"))
            view.show(execution["status"], execution["progress"]["percentage"])
            if execution["status"] in TERMINAL:
                return execution
            if time.monotonic() > deadline:
                raise DemoError(
                    f"the execution is still {execution['status']} after {RUN_SECONDS:.0f} s"
                )
            time.sleep(POLL_SECONDS)


def _environment(database: Path, port: int) -> dict[str, str]:
    """Return the user's environment, with overrides for settings that would affect the demo."""
    return os.environ | {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
        "API_KEYS": "",
        "API_KEYS_FILE": "",
        "DATABASE_PATH": str(database),
        "DATABASE_URL": "",
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(database.parent / "prefect"),
        "HTTP_ALLOWED_HOSTS": "127.0.0.1",  # the shop; nodes may call public addresses only
        "HTTP_PROXY_URL": "",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def _wait_until_running(
    client: httpx.Client, service: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise DemoError(
                f"the service ended with status {service.returncode} at its start{_end_of(log)}"
            )
        try:
            answer = client.get("/", timeout=2)
            if answer.is_success and answer.json().get("status") == "running":
                return
        except (httpx.TransportError, ValueError):
            pass  # not listening yet
        time.sleep(POLL_SECONDS)
    raise DemoError(f"the service is not running after {START_SECONDS:.0f} s{_end_of(log)}")


def _stop(service: "subprocess.Popen[bytes]") -> None:
    """Stop the service, and kill it if it does not end."""
    service.terminate()
    try:
        service.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        return response.json()
    raise DemoError(f"{response.request.url} answers {response.status_code}: {response.text[:500]}")


def _end_of(log: Path, lines: int = 20) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return f"\nThe end of its log, {log}:\n" + "\n".join(text or ["(it is empty)"])


def _look_further(
    console: Console, client: httpx.Client, database: Path, execution_id: str
) -> None:
    """Print commands for another terminal, and keep the service running until Enter."""
    query = (
        "SELECT nodeLabel, status, duration, outputData FROM execution_logs "  # noqa: S608 - shown
        f"WHERE executionId='{execution_id}' ORDER BY timestamp"
    )
    if os.name == "nt":
        sqlite = subprocess.list2cmdline(["sqlite3", str(database), query])
    else:
        sqlite = f'sqlite3 {shlex.quote(str(database))} "{query}"'
    execution = f"{client.base_url}/api/executions/{execution_id}"
    console.print("\nWhere to look further, from another terminal", style="bold")
    for about, line in (
        ("The run and its nodes:", f"curl -s {execution}"),
        ("", f"curl -s {execution}/logs"),
        ("The same in the database:", sqlite),
        ("All that the service can do, in a browser:", f"{client.base_url}/docs"),
    ):
        if about:
            console.print(about, style="dim")
        # One line each, so that it can be copied.
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print("\nEnter ends the demo, and removes its database.", style="bold")
    with suppress(KeyboardInterrupt, EOFError):
        input()


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    """Convert SIGTERM into an exception, so that the service is stopped."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
