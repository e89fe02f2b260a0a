"""``python start_service.py``: an error is one line; otherwise it serves until it is stopped."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import start_service
from config import ROOT, Settings
from tests.support.disks import small_disk
from tests.support.service import wait_until

SCRIPT = str(ROOT / "start_service.py")
START_SECONDS = 25.0
"""Timeout for the start, because imports need seconds on a busy machine."""


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
    """Return the exit code and the line of a failed start."""
    ended = subprocess.run(
        [sys.executable, SCRIPT],
        env=environment(directory, **settings),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return ended.returncode, line


def test_an_invalid_setting_ends_the_start(tmp_path: Path) -> None:
    code, line = failed_start(tmp_path, API_PORT="abc", LOG_LEVEL="loud")
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
    """The service in a separate process."""

    def __init__(self, directory: Path, **settings: object) -> None:
        # With a relative PREFECT_HOME, which is not relative to ``cwd``.
        home = os.path.relpath(directory / "prefect", ROOT)
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT],
            env=environment(directory, PREFECT_HOME=home, LOG_FORMAT="json", **settings),
            cwd=directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(self._process.stderr)

    def port(self) -> int:
        """Return the port, as soon as it is logged and the service responds."""
        started = '"service_started"'
        wait_until(lambda: any(started in line for line in list(self.lines)), START_SECONDS)
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
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    process = Started(tmp_path)
    yield process
    process.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_the_service_listens_on_a_free_port_until_it_is_stopped(
    started: Started, tmp_path: Path, how: str
) -> None:
    url = f"http://127.0.0.1:{started.port()}"
    assert wait_until(lambda: _status(url)) == "running"
    assert (tmp_path / "database.sqlite").exists()
    assert (tmp_path / "prefect").is_dir()
    assert started.stop(getattr(signal, how)) == 0
    assert not any("Traceback" in line for line in started.lines)


OUTSIDE = """
from prefect import task

@task(name="{name}")
def handle(node, input_data):
    return {{"success": True, "outputData": "{name}"}}

NODE_HANDLERS = {{"{name}": handle}}
"""


def test_node_types_of_modules_and_packages_run(tmp_path: Path) -> None:
    (tmp_path / "my_nodes.py").write_text(OUTSIDE.format(name="shout"), encoding="utf-8")
    info = tmp_path / "site" / "whisper-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: whisper\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[workflow_orchestrator.node_types]\nw = whisper\n")
    (tmp_path / "site" / "whisper.py").write_text(OUTSIDE.format(name="whisper"), encoding="utf-8")
    process = Started(tmp_path, NODE_TYPE_MODULES=" my_nodes, ", PYTHONPATH=tmp_path / "site")
    try:
        url = f"http://127.0.0.1:{process.port()}"
        known = {item["type"] for item in httpx.get(f"{url}/api/node-types").json()}
        assert {"shout", "whisper", "http"} <= known
        for name in ("shout", "whisper"):
            body = {"workflowId": "w", "nodeId": "n", "nodeType": name, "node": {}}
            response = httpx.post(f"{url}/api/nodes/execute", json=body, timeout=20).json()
            assert response["output"]["outputData"] == name
    finally:
        process.close()


def _status(url: str) -> str | None:
    try:
        return httpx.get(url, timeout=5).json()["status"]
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
