"""Warm process: runs pytest for each request in a fork that has imported all libraries.

Imports of libraries take longer than most selections of tests. The process runs in a copy of the
checkout and imports no module of the service itself, so each fork imports the changed one. It
reads requests as lines of JSON and writes one line of JSON for each.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.mutants.places import ROOT, SELECTION_VARIABLE

_LIST_MODULES = (
    "import json, sys, api_service, tests.conftest, tests.support.crash_harness;"
    "print(json.dumps({name: getattr(module, '__file__', None)"
    " for name, module in list(sys.modules.items())}))"
)
_POLL_SECONDS = 0.05
_MEASURE_INTERVAL_SECONDS = 1.0
_END_SECONDS = 10
_MAX_WAIT_FACTOR = 20
"""Limit of the duration of a trial as a multiple of its processor time, for a test that waits
forever and that pytest-timeout does not end."""
_TEST_TIMEOUT_SECONDS = 180
"""Duration of a test, in seconds. It is long because the machine may be busy."""


def import_libraries() -> None:
    """Import the modules that the service and its tests import, without those of the project."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules: dict[str, str | None] = json.loads(listed.stdout.splitlines()[-1])
    for name, file in modules.items():
        if file and not Path(file).is_relative_to(ROOT) and not name.startswith("_"):
            try:
                importlib.import_module(name)
            except ImportError:  # a module that its package has replaced
                continue


def main() -> int:
    """Answer requests until the input ends; in a fork, return the exit code of pytest."""
    import_libraries()
    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return _run_tests(request)
        print(json.dumps(_wait(child, request["seconds"])), flush=True)
    return 0


def _run_tests(request: dict[str, Any]) -> int:
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, number)
    os.environ[SELECTION_VARIABLE] = request["selection"]
    import pytest  # noqa: PLC0415 - the warm process has imported it

    options = ["-q", "-x", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    options += ["--timeout", str(_TEST_TIMEOUT_SECONDS)]
    plugins = ("no:cacheprovider", "no:randomly", "no:xdist", "scripts.mutants.selector")
    for plugin in plugins:
        options += ["-p", plugin]
    return int(pytest.main([*options, *request["files"]]))


def _wait(child: int, seconds: float) -> dict[str, Any]:
    """Return the exit code of a child; ``None`` if it was killed after its processor time."""
    deadline = time.monotonic() + _MAX_WAIT_FACTOR * seconds
    measured = time.monotonic()
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return {"code": os.waitstatus_to_exitcode(status)}
        if time.monotonic() - measured > _MEASURE_INTERVAL_SECONDS:
            measured = time.monotonic()
            if processor_seconds(child) > seconds:
                break
        time.sleep(_POLL_SECONDS)
    for number in (signal.SIGINT, signal.SIGKILL):  # pytest tears down after SIGINT
        os.killpg(child, number)
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            if os.waitpid(child, os.WNOHANG)[0]:
                return {"code": None}
            time.sleep(_POLL_SECONDS)
    os.waitpid(child, 0)
    return {"code": None}


def processor_seconds(session: int) -> float:
    """Return the processor time of the processes of a session and of those that ended, in seconds.

    A session has the id of its first process.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
