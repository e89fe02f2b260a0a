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
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.client import ServiceClient
from cli.errors import CommandError, ExitCode
from cli.follow import Follower
from cli.local_service import leave_on_signals, running_service
from examples.shop import open_shop, pages_of

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "examples" / "demo-workflows" / "morning-report.json"
"""Calls the shop, which exists only in the demo; other databases do not contain it."""


def main(arguments: Sequence[str] = ()) -> int:
    """Run the demo; return 0 if the workflow completed, 1 if not, 130 if interrupted."""
    argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__).parse_args(
        list(arguments)
    )
    leave_on_signals()
    # Otherwise a Windows code page could not print the units of the report.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    console = Console(highlight=False)
    try:
        with _working_directory() as directory:
            return run(console, directory / "demo.sqlite", directory / "service.log")
    except CommandError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def run(console: Console, database: Path, log: Path) -> int:
    """Start shop and service, run the workflow, and print further commands.

    Raises:
        CommandError: If the workflow does not complete.
    """
    workflow: dict[str, Any] = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    with open_shop() as shop_url:
        console.print(f"A shop for the workflow to ask: {shop_url}")
        with running_service(_settings(database), log) as client:
            console.print(f"The service, on a database of its own: {client.base_url}\n")
            console.print(f"{workflow['name']}", style="bold")
            execution = execute(client, console, workflow, {"shop": pages_of(shop_url)})
            if execution["status"] != "completed":
                reason = f"the execution is {execution['status']}: {execution.get('error')}"
                raise CommandError(reason, ExitCode.FAILED)
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


def execute(
    client: ServiceClient, console: Console, workflow: dict[str, Any], inputs: dict[str, Any]
) -> dict[str, Any]:
    """Submit the workflow, show its nodes until it ends, and return its last state.

    Raises:
        CommandError: If the submission is rejected.
    """
    saved = {key: workflow[key] for key in ("id", "name", "tags", "data")}
    client.create_workflow(saved)
    started = client.execute({"workflowId": workflow["id"], "inputs": inputs})
    return Follower(client, console).follow(str(started["executionId"]), workflow["data"])


def _settings(database: Path) -> dict[str, str]:
    """Return settings that would affect the demo, with their values for it."""
    return {
        "API_KEYS": "",
        "API_KEYS_FILE": "",
        "DATABASE_PATH": str(database),
        "DATABASE_URL": "",
        "PREFECT_API_URL": "",
        "PREFECT_HOME": str(database.parent / "prefect"),
        "HTTP_ALLOWED_HOSTS": "127.0.0.1",  # the shop; nodes may call public addresses only
        "HTTP_PROXY_URL": "",
    }


def _look_further(
    console: Console, client: ServiceClient, database: Path, execution_id: str
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
