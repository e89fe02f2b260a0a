"""``python start_service.py``: an error is one line; otherwise it serves until it is stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import start_service
from config import ROOT, Settings
from tests.support.disks import small_disk
from tests.support.service import wait_until
from tests.support.warm_processes import WarmProcess

SCRIPT = str(ROOT / "start_service.py")
pytestmark = pytest.mark.timeout(180)
START_SECONDS = 120.0
"""Timeout for the start, because imports take long on a busy machine."""


def environment(directory: Path, **settings: object) -> dict[str, str]:
    names = {name.upper() for name in Settings.model_fields}
    others = {name: value for name, value in os.environ.items() if name not in names}
    own = {
        "API_HOST": "127.0.0.1",
        "API_PORT": 0,
        "DATABASE_PATH": directory / "database.sqlite",
        "PREFECT_HOME": directory / "prefect",
        **settings,
    }
    return {**others, **{name: str(value) for name, value in own.items()}}


def failed_start(directory: Path, **settings: object) -> tuple[int, str]:
    """Return the exit code and the line of a failed start, with modules that are imported."""
    if os.name == "nt":  # has no fork
        return failed_command(directory, **settings)
    log = directory / "printed"
    process = WarmProcess(environment(directory, **settings), log, "start_service", directory)
    code = process.wait(START_SECONDS)
    (line,) = log.read_text(encoding="utf-8").splitlines()
    log.unlink()
    return code, line


def failed_command(directory: Path, **settings: object) -> tuple[int, str]:
    """Return the exit code and the line of a failed start by the command."""
    ended = subprocess.run(
        [sys.executable, SCRIPT],
        env=environment(directory, **settings),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return ended.returncode, line


def test_an_invalid_setting_ends_the_start(tmp_path: Path) -> None:
    code, line = failed_command(tmp_path, API_PORT="abc", LOG_LEVEL="loud")
    assert code == 2
    assert re.fullmatch(r"Wrong setting: API_PORT='abc': .+; LOG_LEVEL='loud': .+", line)


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, line = failed_start(tmp_path, API_PORT=port)
    assert code == 1
    assert line.startswith(f"Cannot listen on API_HOST=127.0.0.1 API_PORT={port}: ")
    assert "in use" in line
    assert not (tmp_path / "database.sqlite").exists()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_foreign_address_ends_the_start(tmp_path: Path, host: str) -> None:
    code, line = failed_start(tmp_path, API_HOST=host)
    assert code == 1
    assert line.startswith(f"Cannot listen on API_HOST={host} API_PORT=0: ")


def test_an_invalid_database_file_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100, encoding="utf-8")
    code, line = failed_start(tmp_path, DATABASE_PATH=path)
    assert code == 1
    assert line.startswith(f"Cannot start with the database ({path}): ")
    assert "file is not a database" in line
    assert path.read_text(encoding="utf-8").startswith("Dear Sir")


def test_a_missing_directory_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "db.sqlite"
    code, line = failed_start(tmp_path, DATABASE_PATH=path)
    assert code == 1
    assert str(path) in line
    assert "unable to open" in line


def test_a_failing_plugin_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "my_nodes.py").write_text("import no_such_library\n", encoding="utf-8")
    code, line = failed_start(tmp_path, NODE_TYPE_MODULES="my_nodes")
    assert code == 1
    assert line == (
        "Cannot load node types: NODE_TYPE_MODULES=my_nodes: "
        "ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert not (tmp_path / "database.sqlite").exists()


def test_a_read_only_disk_ends_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path, 4) as disk:
        disk.make_read_only()
        code, line = failed_start(tmp_path, DATABASE_PATH=disk.path / "db.sqlite")
    assert code == 1
    assert line.startswith("Cannot start with the database")


def test_an_invalid_database_url_is_reported_without_its_password(tmp_path: Path) -> None:
    code, line = failed_start(tmp_path, DATABASE_URL="mystery://me:hidden@host/db")
    assert code == 1
    assert line.startswith("Cannot start with the database (DATABASE_URL): ")
    assert "hidden" not in line


# Successful starts


class Started:
    """The service in a separate process: started by the command, or with imported modules."""

    def __init__(self, directory: Path, *, by_command: bool = False, **settings: object) -> None:
        # With a relative PREFECT_HOME, which is not relative to ``cwd``.
        home = os.path.relpath(directory / "prefect", ROOT)
        variables = environment(directory, PREFECT_HOME=home, LOG_FORMAT="json", **settings)
        self._log = directory / "printed"
        self._process: WarmProcess | subprocess.Popen[bytes]
        if by_command or os.name == "nt":  # Windows has no fork
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, SCRIPT], env=variables, cwd=directory, stderr=log
                )
        else:
            self._process = WarmProcess(variables, self._log, "start_service", directory)

    @property
    def lines(self) -> list[str]:
        """The logged lines."""
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []

    def port(self) -> int:
        """Return the port, as soon as it is logged and the service responds."""
        started = '"service_started"'
        wait_until(lambda: any(started in line for line in self.lines), START_SECONDS)
        listening = next(line for line in self.lines if '"listening"' in line)
        match = re.search(r'"port": (\d+)', listening)
        assert match
        return int(match[1])

    def stop(self, how: signal.Signals) -> int:
        """Stop the service, and return its exit code."""
        self._process.send_signal(how)
        return self._process.wait(20)

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait(20)


@contextmanager
def started(directory: Path, *, by_command: bool = False, **settings: object) -> Iterator[Started]:
    """Start the service in a separate process; kill it at the end."""
    process = Started(directory, by_command=by_command, **settings)
    try:
        yield process
    finally:
        process.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_the_service_listens_on_a_free_port_until_it_is_stopped(tmp_path: Path, how: str) -> None:
    with started(tmp_path, by_command=how == "SIGTERM") as process:
        url = f"http://127.0.0.1:{process.port()}"
        assert wait_until(lambda: _status(url)) == "running"
        assert (tmp_path / "database.sqlite").exists()
        assert (tmp_path / "prefect").is_dir()
        assert process.stop(getattr(signal, how)) == 0
        assert not any("Traceback" in line for line in process.lines)


OUTSIDE = """
from prefect import task

@task(name="{name}")
def handle(node, input_data):
    return {{"success": True, "outputData": "{name}"}}

NODE_HANDLERS = {{"{name}": handle}}
"""


def test_node_types_of_modules_run(tmp_path: Path) -> None:
    (tmp_path / "my_nodes.py").write_text(OUTSIDE.format(name="shout"), encoding="utf-8")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "whisper.py").write_text(OUTSIDE.format(name="whisper"), encoding="utf-8")
    modules = {"NODE_TYPE_MODULES": " my_nodes, whisper, ", "PYTHONPATH": tmp_path / "site"}
    with started(tmp_path, by_command=True, **modules) as process:
        url = f"http://127.0.0.1:{process.port()}"
        known = {item["type"] for item in httpx.get(f"{url}/api/node-types").json()}
        assert {"shout", "whisper", "http"} <= known
        for name in ("shout", "whisper"):
            body = {"workflowId": "w", "nodeId": "n", "nodeType": name, "node": {}}
            response = httpx.post(f"{url}/api/nodes/execute", json=body, timeout=60).json()
            assert response["output"]["outputData"] == name


def _status(url: str) -> str | None:
    try:
        return httpx.get(url, timeout=60).json()["status"]
    except httpx.ConnectError:
        return None


def test_a_free_port_is_the_same_for_all_addresses_of_a_host() -> None:
    sockets = start_service.bind("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in sockets}) == 1
        assert all(listener.proto == socket.IPPROTO_TCP for listener in sockets)
    finally:
        for listener in sockets:
            listener.close()
