"""The bounds of a code node's process: time, memory, other processes, and that it always ends."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from config import ROOT
from tasks.code import node as code_node
from tests.support.code_calls import HANGS, failure, run
from tests.support.service import wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has a time limit only")

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="others may not fork at all there"
)

# Files take no content, but directories have names.
TELL_PID = "import os\nos.mkdir({place!r} + '/' + str(os.getpid()))\n"
FORK_IN_C = "import ctypes\nctypes.CDLL(None).fork()\n"


def pids(place: Path) -> list[int]:
    return [int(path.name) for path in place.iterdir()]


def is_gone_from_disk(path: str) -> bool:
    return not Path(path).exists()


def is_gone(pid: int) -> bool:
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


async def test_one_that_catches_everything_is_ended_too():
    code = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    assert "took longer than 0.5 s" in await failure(code, timeoutSeconds=0.5)


async def test_the_kernel_would_end_what_the_service_does_not():
    code = (
        "import resource, signal\n"
        "limits = resource.getrlimit(resource.RLIMIT_CPU)\n"
        "[signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.alarm(0), *limits]"
    )
    default, seconds, *cpu = (await run(code, timeoutSeconds=20))["outputData"]
    assert default
    assert 15 < seconds <= 22
    assert cpu == [22, 22]


@pytest.mark.parametrize("code", ["'x' * 10**9", "x = []\nwhile True: x.append('x' * 10**6)"])
async def test_memory_is_bounded(code: str):
    told = await failure(code, memory_mb=128)
    assert told == "the code used more memory than 128 MB (CODE_MEMORY_MB)"


async def test_an_input_that_does_not_fit_is_told_too():
    assert "more memory than 64 MB" in await failure("1", ["x" * 10] * 3_000_000, memory_mb=64)


async def test_a_crash_of_the_interpreter_is_told():
    code = "import ctypes\nctypes.string_at(0)"
    assert "ended by SIGSEGV before it gave an output" in await failure(code)


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.fork()",
        "import os\nos.system('true')",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
    ],
)
async def test_no_other_process_is_started_or_ended(code: str):
    assert "PermissionError: code may start or end no other process" in await failure(code)


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root is exempt from the limit")
async def test_a_fork_bomb_cannot_fork():
    code = "import ctypes\nsum(ctypes.CDLL(None).fork() >= 0 for _ in range(3))"
    assert (await run(code))["outputData"] == 0


async def test_files_take_no_content():
    code = "with open('a', 'w') as file:\n    file.write('x' * 100)"
    assert "OSError: [Errno 27] File too large" in await failure(code)


async def test_many_files_cannot_be_open():
    assert "Too many open files" in await failure("f = [open('/dev/null') for _ in range(100)]")


async def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    code = "import os\n[dict(os.environ), open('/proc/self/environ').read()]"
    assert (await run(code))["outputData"] == [{}, ""]


async def test_the_directory_is_its_own_and_is_removed():
    code = "import os\nos.mkdir('left')\n[os.getcwd(), os.listdir()]"
    place, listed = (await run(code))["outputData"]
    assert listed == ["left"]
    assert Path(place).parent == Path(tempfile.gettempdir())
    assert is_gone_from_disk(place)


DEEP = """
import os
place = os.getcwd()
for level in range(1_500):
    os.mkdir('deeper')
    os.chdir('deeper')
open('file', 'w')
place"""
MANY = """
import os
os.mkdir('closed')
for i in range(500):
    open(f'closed/{i}', 'w')
os.symlink('/', 'closed/link')
os.chmod('closed', 0)
os.getcwd()"""


@pytest.mark.parametrize("code", [DEEP, MANY], ids=["deep", "many"])
async def test_whatever_is_in_it_is_removed_and_holds_up_nobody(
    code: str, monkeypatch: pytest.MonkeyPatch
):
    threads: list[int] = []

    def remove(directory: str) -> None:
        threads.append(threading.get_ident())
        original(directory)

    original = code_node._remove
    monkeypatch.setattr(code_node, "_remove", remove)
    place = Path((await run(code))["outputData"])
    assert list(place.parent.glob(f"{place.name}*")) == []
    assert threading.get_ident() not in threads
    assert len(threads) == 1


@linux
async def test_of_the_service_s_files_none_is_open(tmp_path: Path):
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


FORGED = '{"output": "forged", "stdout": ""}'


@pytest.mark.parametrize(
    "code",
    [
        f"import os\nprint('{FORGED}')\nos.write(1, b'{FORGED}' * 9)\n'real'",
        f"import sys\nsys.__stdout__.write('{FORGED}' * 9)\nsys.__stdout__.flush()\n'real'",
    ],
)
async def test_what_is_written_to_standard_output_is_no_result(code: str):
    assert (await run(code))["outputData"] == "real"


@pytest.mark.parametrize("written", ["x" * 100, "0" * 42, "9" * 100])
async def test_what_is_written_into_the_channel_is_no_result_either(written: str):
    told = await failure(f"import os\nfor i in range(3, 9):\n    try: os.write(i, b'{written}')\n"
                         "    except OSError: pass\n1")  # fmt: skip
    assert told == "the code wrote into the channel of its result"


# Code that means harm can find out the word with which a frame begins.
FORGES = """
import os, sys
frame = sys._getframe()
while frame.f_code.co_name != 'main':
    frame = frame.f_back
body = {body!r}
os.write(frame.f_locals['channel'], frame.f_locals['token'] + b'%010d' % len(body) + body)
os._exit(0)
"""


@pytest.mark.parametrize(
    "body",
    [
        b"[1]",
        b"7",
        b"{}",
        b'{"output": 1}',
        b'{"output": 1, "stdout": {}}',
        b'{"stdout": ""}',
        b"{",
    ],
)
async def test_a_forged_frame_is_no_result_where_it_is_none(body: bytes):
    told = await failure(FORGES.format(body=body))
    assert told == "the code wrote into the channel of its result"


@pytest.mark.parametrize(
    ("gives", "kind"),
    [
        ("class D(dict):\n    def items(self): 1 / 0\nD(a=1)", "ZeroDivisionError"),
        ("class S(str):\n    def encode(self, *_): return b''\nS('\\ud800')", "UnicodeEncodeError"),
    ],
)
async def test_an_output_with_methods_of_its_own_is_refused(gives: str, kind: str):
    assert await failure(gives) == f"the code gives what cannot be read: {kind}"


@as_root
async def test_a_copy_of_the_process_gives_no_second_result_and_is_ended(tmp_path: Path):
    code = FORK_IN_C + TELL_PID.format(place=str(tmp_path)) + "'once'"
    assert (await run(code))["outputData"] == "once"
    wait_until(lambda: all(map(is_gone, pids(tmp_path))))


@as_root
async def test_a_time_out_ends_what_the_code_started_too(tmp_path: Path):
    code = FORK_IN_C + TELL_PID.format(place=str(tmp_path)) + HANGS
    assert "took longer" in await failure(code, timeoutSeconds=1)
    assert len(pids(tmp_path)) == 2
    wait_until(lambda: all(map(is_gone, pids(tmp_path))))


@linux
async def test_a_cancellation_ends_the_process_and_leaves_no_zombie(tmp_path: Path):
    task = asyncio.create_task(run(TELL_PID.format(place=str(tmp_path)) + HANGS))
    await asyncio.to_thread(wait_until, lambda: pids(tmp_path))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (pid,) = pids(tmp_path)
    assert is_gone_from_disk(f"/proc/{pid}")


@linux
def test_a_service_that_is_killed_takes_the_process_with_it(tmp_path: Path):
    place, temporary = tmp_path / "pids", tmp_path / "temporary"
    place.mkdir()
    temporary.mkdir()
    code = TELL_PID.format(place=str(place)) + HANGS
    program = (
        f"import asyncio\nfrom tests.support.code_calls import run\nasyncio.run(run({code!r}))"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    service = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: pids(place))
        (pid,) = pids(place)
        assert not is_gone(pid)
    finally:
        service.send_signal(signal.SIGKILL)
        service.wait()
    wait_until(lambda: is_gone(pid), 5)


async def test_no_more_processes_run_at_once_than_there_are_processors(
    monkeypatch: pytest.MonkeyPatch,
):
    running, most = 0, 0
    answer = code_node._answer

    async def counted(*arguments: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await answer(*arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(code_node, "_answer", counted)
    count = (os.cpu_count() or 1) + 2
    results = await asyncio.gather(*(run(str(i)) for i in range(count)))
    assert [result["outputData"] for result in results] == list(range(count))
    assert most <= (os.cpu_count() or 1)
