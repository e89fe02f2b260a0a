"""``./wf``: runs, follows and inspects executions of a running service, or of one of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli import follow
from cli.client import ServiceClient
from cli.commands import main
from cli.errors import ConnectionLostError, ExitCode
from cli.follow import Follower
from config import ROOT
from tests.support.documents import document, node
from tests.support.ports import free_port
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until

GREETING = ROOT / "examples" / "hello-world.json"
LINE = document(node("start", "trigger"), node("end"), flow=("start -> end",))
FAILING = document(
    node("start", "trigger"),
    node("check", "condition", conditionField="a", conditionOperator="greaterThan"),
    flow=("start -> check",),
)

Wf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wf(service: RunningService, capsys: pytest.CaptureFixture[str]) -> Wf:
    """Run one command against the service; return the exit code, the output and the messages."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--url", service.url, *arguments])
        out, messages = capsys.readouterr()
        return code, out, messages

    return run


def test_run_prints_only_the_id_of_the_execution(service: RunningService, wf: Wf) -> None:
    code, out, _ = wf("run", service.save(LINE))
    assert code == ExitCode.DONE
    assert service.ended(out.strip())["status"] == "completed"


def test_a_followed_file_prints_its_result(wf: Wf) -> None:
    code, out, messages = wf("run", str(GREETING), "--input", "name=Ada", "--follow")
    assert code == ExitCode.DONE
    assert json.loads(out)["greeting"] == "Hello, Ada!"
    assert "Greet by name: completed" in messages
    assert "100 %  completed" in messages


def test_inputs_are_json_or_strings(service: RunningService, wf: Wf) -> None:
    inputs = ["text=a=b", "number=3", "list=[1]", 'quoted="3"', "nan=NaN", "empty="]
    arguments = [part for pair in inputs for part in ("-i", pair)]
    code, out, _ = wf("run", service.save(LINE), "--follow", "--json", *arguments)
    expected = {"text": "a=b", "number": 3, "list": [1], "quoted": "3", "nan": "NaN", "empty": ""}
    assert (code, json.loads(out)["finalOutput"]) == (ExitCode.DONE, expected)


def test_a_failed_execution_names_the_node_and_the_reason(service: RunningService, wf: Wf) -> None:
    code, out, messages = wf("run", service.save(FAILING), "-i", "a=x", "--follow")
    assert (code, out) == (ExitCode.FAILED, "")
    assert "check: error" in messages
    assert "Error:" in messages


def test_a_cancelled_execution_has_its_own_exit_code(
    service: RunningService, wf: Wf, gates: Gates
) -> None:
    workflow_id = service.save(document(node("work", "gate")))

    def cancel() -> None:
        gates.wait_for("work")
        [row] = service.rows("SELECT id FROM workflow_executions")
        service.http.post(f"/api/executions/{row['id']}/cancel")

    thread = threading.Thread(target=cancel)
    thread.start()
    code, _, messages = wf("run", workflow_id, "--follow")
    thread.join()
    assert code == ExitCode.CANCELLED
    assert "work: cancelled" in messages


def test_cancel_stops_an_execution_once(service: RunningService, wf: Wf, gates: Gates) -> None:
    execution_id = service.start(document(node("work", "gate")))
    gates.wait_for("work")
    assert wf("cancel", execution_id)[0] == ExitCode.DONE
    assert service.ended(execution_id)["status"] == "cancelled"
    code, out, _ = wf("cancel", execution_id, "--json")
    assert code == ExitCode.FAILED
    assert json.loads(out)["success"] is False


def test_rerun_reuses_completed_nodes(service: RunningService, wf: Wf) -> None:
    old = service.run(LINE)["executionId"]
    code, out, _ = wf("rerun", old, "--from", "end", "--follow", "--json")
    state = json.loads(out)
    assert (code, state["rerunOf"], state["status"]) == (ExitCode.DONE, old, "completed")
    assert service.logs(state["executionId"])["start"]["reusedFrom"] == old


def test_rerun_with_the_current_definition_shows_its_plan_first(
    service: RunningService, wf: Wf
) -> None:
    old = service.run(LINE)["executionId"]
    changed = json.loads(json.dumps(LINE))
    end = next(each for each in changed["nodes"] if each["id"] == "end")
    changed["nodes"].append({**end, "id": "other", "type": "addField"})
    changed["connections"].append({"id": "c9", "fromNodeId": "start", "toNodeId": "other"})
    service.save(changed)
    dry = ("rerun", old, "--definition", "current", "--dry-run")
    assert wf(*dry)[:2] == (ExitCode.DONE, "Will run: other\nReused: start, end\n")
    plan = json.loads(wf(*dry, "--json")[1])
    assert (plan["willRun"], plan["takenOver"]) == (["other"], ["start", "end"])
    assert len(service.rows("SELECT id FROM workflow_executions")) == 1
    _, out, _ = wf("rerun", old, "--definition", "current", "--follow", "--json")
    logs = service.logs(json.loads(out)["executionId"])
    assert [logs[name]["reusedFrom"] for name in ("start", "end", "other")] == [old, old, None]


def test_list_show_and_logs_describe_an_execution(service: RunningService, wf: Wf) -> None:
    execution_id = service.run(FAILING, inputs={"a": "x"})["executionId"]
    _, listed, _ = wf("list", "--status", "failed")
    assert execution_id in listed
    assert "No executions." in wf("list", "--status", "running")[1]
    assert (
        json.loads(wf("list", "--limit", "1", "--json")[1])["executions"][0]["id"] == execution_id
    )
    _, shown, _ = wf("show", execution_id)
    assert "condition" in shown
    assert "failed" in shown
    lines = wf("logs", execution_id, "--json")[1].splitlines()
    assert [json.loads(line)["nodeId"] for line in lines] == ["start", "check"]
    assert 'inputData: {"a": "x"}' in wf("logs", execution_id, "--payloads")[1]


def test_logs_are_followed_to_the_end(service: RunningService, gates: Gates) -> None:
    graph = document(node("work", "gate"), node("end"), flow=("work -> end",))
    execution_id = service.start(graph)
    gates.wait_for("work")
    with ServiceClient(service.url) as client:
        changes = Follower(client, Console(stderr=True)).changes(execution_id, payloads=False)
        first = next(changes)
        gates.open("work")
        runs = [first, *changes]
    states = [(run["nodeId"], run["status"]) for run in runs]
    assert states[0] == ("work", "running")
    assert ("work", "completed") in states
    assert states[-1] == ("end", "completed")


class InterruptedClient(ServiceClient):
    """Client whose every second request finds no service, as during a restart."""

    requests = 0

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        self.requests += 1
        if self.requests % 2:
            raise ConnectionLostError("no service")
        return super()._call(method, path, **options)


def test_an_execution_is_followed_through_interruptions(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(follow, "RECONNECT_INTERVAL_SECONDS", 0.0)
    execution_id = service.start(LINE)
    with InterruptedClient(service.url) as client:
        state = Follower(client, Console(stderr=True)).follow(execution_id)
    assert state["status"] == "completed"
    assert "The connection is lost" in capsys.readouterr().err


def test_validate_prints_every_error(service: RunningService, wf: Wf, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(document(node("a", "htp"), node("b", "http"), flow=("a -> b",))))
    code, out, _ = wf("validate", str(file))
    assert code == ExitCode.FAILED
    assert "node 'a' is of unknown type 'htp'" in out
    assert "'httpUrl' is required" in out
    assert json.loads(wf("validate", str(file), "--json")[1])["valid"] is False
    assert wf("validate", service.save(LINE))[0] == ExitCode.DONE


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["show", "unknown"], ExitCode.REJECTED, "unknown"),
        (["show", "../x"], ExitCode.REJECTED, "not a valid id"),
        (["run", "unknown"], ExitCode.REJECTED, "unknown"),
        (["run", "missing.json"], ExitCode.REJECTED, "missing.json: cannot be read"),
        (["run", "w", "-i", "novalue"], ExitCode.REJECTED, "expected name=value"),
        (["run", "w", "-i", "a=1", "-i", "a=2"], ExitCode.REJECTED, "given twice"),
        (["list", "--status", "done"], ExitCode.REJECTED, "'done'"),
        (["sho", "x"], ExitCode.REJECTED, "sho"),
    ],
)
def test_a_wrong_argument_is_named(
    wf: Wf, arguments: Sequence[str], code: int, reason: str
) -> None:
    found, out, messages = wf(*arguments)
    assert (found, out) == (code, "")
    assert reason in messages


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"nodes": [', "not valid JSON"),
        (b'{"nodes": [], "nodes": []}', "'nodes' occurs twice"),
        (b'{"nodes": [NaN]}', "NaN"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "too deeply nested"),
        (b'{"name": "x", "data": "{"}', "data: not valid JSON"),
    ],
)
def test_a_broken_file_is_rejected_before_a_request(
    wf: Wf, tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "workflow.json"
    file.write_bytes(content)
    code, _, messages = wf("run", str(file))
    assert code == ExitCode.REJECTED
    assert reason in messages


def test_labels_cannot_control_the_terminal(service: RunningService, wf: Wf) -> None:
    label = "a\x1b[2J\x9b31m[bold]\nb"
    graph = document({**node("start", "trigger"), "label": label})
    _, _, messages = wf("run", service.save(graph), "--follow")
    assert "a [2J 31m[bold] b: completed" in messages
    execution_id = service.run(graph)["executionId"]
    for command in (["show", execution_id], ["logs", execution_id, "--payloads"], ["list"]):
        assert not {"\x1b", "\x9b"} & set(wf(*command)[1])


def test_an_address_without_a_service_is_unavailable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RECONNECT_TIMEOUT_SECONDS", 0.1)
    address = f"http://127.0.0.1:{free_port()}"
    assert main(["--url", address, "show", "x"]) == ExitCode.UNAVAILABLE
    assert address in capsys.readouterr().err


def own_service(directory: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start a command that finds no service and therefore starts one."""
    names = {
        "DATABASE_PATH": str(directory / "database.sqlite"),
        "PREFECT_HOME": str(directory / "prefect"),
        "API_PORT": str(free_port()),
        "API_HOST": "127.0.0.1",
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WF_")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "wf.py"), *arguments],
        env=environment | names,
        cwd=directory,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.timeout(300)
def test_without_a_service_the_command_runs_one_and_keeps_the_execution(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("raise RuntimeError('a file of the user was imported')")
    (tmp_path / "line.json").write_text(json.dumps(LINE))
    with own_service(tmp_path, "run", "line.json", "-i", "a=1") as running:
        out, messages = running.communicate(timeout=90)
    assert (running.returncode, json.loads(out)) == (ExitCode.DONE, {"a": 1}), messages
    with own_service(tmp_path, "list", "--json") as running:
        out, _ = running.communicate(timeout=90)
    assert [execution["status"] for execution in json.loads(out)["executions"]] == ["completed"]


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="finds child processes in /proc")
def test_the_own_service_stops_when_the_command_is_killed(tmp_path: Path) -> None:
    waiting = document(node("start", "trigger"), node("w", "wait", waitSeconds=600))
    waiting["connections"] = [{"id": "c", "fromNodeId": "start", "toNodeId": "w"}]
    (tmp_path / "wait.json").write_text(json.dumps(waiting))
    with own_service(tmp_path, "run", "wait.json") as running:
        assert running.stderr is not None
        while "waiting" not in running.stderr.readline():
            pass
        [child] = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path("/proc", child).exists())
