"""Limits of a code node's process: time, memory, files and environment, and its certain end."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from config import ROOT
from tasks.code import node as code_node
from tests.support.code_calls import HANGS, failure, run
from tests.support.service import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has a time limit only")

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

# Files can have no content, but directories have names.
REPORT_PID = "import os\nos.mkdir({path!r} + '/' + str(os.getpid()))\n"
FORK = "import os\nos.fork()\n"


def pids(directory: Path) -> list[int]:
    return [int(path.name) for path in directory.iterdir()]


def exists(path: str) -> bool:
    return Path(path).exists()


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z" and not _is_child(pid)


def _is_child(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return f"PPid:\t{os.getpid()}\n" in status


async def test_an_endless_loop_is_ended():
    assert await failure(HANGS, timeoutSeconds=0.5) == "the code took longer than 0.5 s"


async def test_a_loop_that_catches_every_exception_is_ended():
    code = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    assert "took longer than 0.5 s" in await failure(code, timeoutSeconds=0.5)


async def test_the_kernel_ends_a_process_that_the_service_cannot_end():
    code = "import signal\n[signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.alarm(0)]"
    default, seconds = (await run(code, timeoutSeconds=200))["outputData"]
    assert default
    assert 100 < seconds <= 202


@pytest.mark.parametrize("code", ["'x' * 10**9", "x = []\nwhile True: x.append('x' * 10**6)"])
async def test_memory_is_limited(code: str):
    message = await failure(code, memory_mb=128)
    assert message == "the code used more memory than 128 MB (CODE_MEMORY_MB)"


async def test_an_input_larger_than_the_memory_is_an_error():
    assert "more memory than 64 MB" in await failure("1", ["x" * 10] * 3_000_000, memory_mb=64)


async def test_a_crash_of_the_interpreter_is_an_error():
    code = "import ctypes\nctypes.string_at(0)"
    assert "ended by SIGSEGV before it returned an output" in await failure(code)


async def test_files_can_have_no_content():
    code = "with open('a', 'w') as file:\n    file.write('x' * 100)"
    assert "OSError: [Errno 27] File too large" in await failure(code)


async def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    code = "import os\n[dict(os.environ), open('/proc/self/environ').read()]"
    assert (await run(code))["outputData"] == [{}, ""]


async def test_the_directory_is_removed_in_a_thread(monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []
    cleanup = TemporaryDirectory.cleanup

    def recorded(directory: TemporaryDirectory[str]) -> None:
        threads.append(threading.get_ident())
        cleanup(directory)

    monkeypatch.setattr(code_node.TemporaryDirectory, "cleanup", recorded)
    code = "import os\nos.mkdir('left')\n[os.getcwd(), os.listdir()]"
    path, listed = (await run(code))["outputData"]
    assert listed == ["left"]
    assert Path(path).parent == Path(tempfile.gettempdir())
    assert not exists(path)
    assert threads
    assert threading.get_ident() not in threads


@linux
async def test_no_file_of_the_service_is_open(tmp_path: Path):
    code = """
import os
open_files = []
for name in os.listdir('/proc/self/fd'):
    try: open_files.append(os.readlink('/proc/self/fd/' + name))
    except OSError: pass
open_files"""
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        links = (await run(code))["outputData"]
    assert links[:3] == ["/dev/null"] * 3
    others = [link for link in links[3:] if link != "/dev/null"]
    assert [link.partition(":")[0] for link in others] == ["pipe"]


PRINTED = '{"output": "printed", "stdout": ""}'


@pytest.mark.parametrize(
    "code",
    [
        f"import os\nprint('{PRINTED}')\nos.write(1, b'{PRINTED}' * 9)\n'real'",
        f"import sys\nsys.__stdout__.write('{PRINTED}' * 9)\nsys.__stdout__.flush()\n'real'",
    ],
)
async def test_standard_output_does_not_mix_with_the_result(code: str):
    assert (await run(code))["outputData"] == "real"


@pytest.mark.parametrize("written", ["x" * 100, "0000000009{broken}", "9" * 100])
async def test_bytes_in_the_pipe_of_the_result_are_an_error(written: str):
    message = await failure(
        f"import os\nfor i in range(3, 9):\n    try: os.write(i, b'{written}')\n"
        "    except OSError: pass\n1"
    )
    reasons = ("wrote into the pipe of its result", "returned a result that cannot be read")
    assert message.removeprefix("the code ").startswith(reasons)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "class D(dict):\n    def items(self): 1 / 0\nD(a=1)",
            "cannot be read: ZeroDivisionError",
        ),
        (
            "class S(str):\n    def encode(self, *_): return b''\nS('\\ud800')",
            "is not JSON: 'utf-8' codec can't encode character",
        ),
    ],
)
async def test_an_output_whose_methods_fail_is_an_error(code: str, reason: str):
    assert (await failure(code)).startswith(f"the code returns a value that {reason}")


async def test_a_forked_process_is_ended_and_returns_no_second_result(tmp_path: Path):
    code = FORK + REPORT_PID.format(path=str(tmp_path)) + "'once'"
    assert (await run(code))["outputData"] == "once"
    wait_until(lambda: all(map(has_ended, pids(tmp_path))))


async def test_a_timeout_ends_the_processes_that_the_code_started(tmp_path: Path):
    code = FORK + REPORT_PID.format(path=str(tmp_path)) + HANGS
    assert "took longer" in await failure(code, timeoutSeconds=1)
    assert len(pids(tmp_path)) == 2
    wait_until(lambda: all(map(has_ended, pids(tmp_path))))


@linux
async def test_a_cancellation_ends_the_process_and_leaves_no_zombie(tmp_path: Path):
    task = asyncio.create_task(run(REPORT_PID.format(path=str(tmp_path)) + HANGS))
    await asyncio.to_thread(wait_until, lambda: pids(tmp_path))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (pid,) = pids(tmp_path)
    assert not exists(f"/proc/{pid}")


@linux
def test_the_process_of_a_killed_service_ends(tmp_path: Path):
    reported, temporary = tmp_path / "pids", tmp_path / "temporary"
    reported.mkdir()
    temporary.mkdir()
    code = REPORT_PID.format(path=str(reported)) + HANGS
    program = (
        f"import asyncio\nfrom tests.support.code_calls import run\nasyncio.run(run({code!r}))"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    service = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: pids(reported))
        (pid,) = pids(reported)
        assert not has_ended(pid)
    finally:
        service.send_signal(signal.SIGKILL)
        service.wait()
    wait_until(lambda: has_ended(pid))


async def test_the_number_of_processes_is_limited_to_that_of_the_processors(
    monkeypatch: pytest.MonkeyPatch,
):
    running, maximum = 0, 0
    original = code_node._run

    async def counted(*arguments: object) -> object:
        nonlocal running, maximum
        running += 1
        maximum = max(maximum, running)
        try:
            return await original(*arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(code_node, "_run", counted)
    count = (os.cpu_count() or 1) + 2
    results = await asyncio.gather(*(run(str(i)) for i in range(count)))
    assert [result["outputData"] for result in results] == list(range(count))
    assert maximum <= (os.cpu_count() or 1)
