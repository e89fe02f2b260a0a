"""The code node: a Python expression or statements, in a process of its own with bounds.

The bounds contain accidents: endless loops, too much memory, too much output. They are no sandbox:
the process may read what the service's user may read and open connections. Hence the node is off
unless ``ENABLE_CODE_NODE=true``; see ``docs/decisions/0018-code-in-a-child-process.md``.
"""

import asyncio
import itertools
import math
import os
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, cast
from weakref import WeakKeyDictionary

from prefect import task
from pydantic import BeforeValidator, Field, field_validator

from engine.errors import NodeError
from engine.json_values import JsonValue, encode_json, load_json
from tasks.code import runner
from tasks.config.base import NodeConfig, read_config
from tasks.config.fields import LONG_TEXT, ProcessingMode, trimmed
from tasks.context import HandlerSettings, current_node_run

RUNNER = Path(runner.__file__).resolve()
MAX_OUTPUT_BYTES = 10 * 1024 * 1024
"""The most that the code may give on, as JSON."""
MAX_CODE_CHARS = 50_000
"""Characters. The service itself parses the code when a workflow is submitted."""
CODE_NODE_DISABLED_MESSAGE = "is off; ENABLE_CODE_NODE=true allows it"
"""Why a ``code`` node is refused where the setting says nothing."""

_FORGED_RESULT_MESSAGE = "wrote into the channel of its result"
_PROCESSES = os.cpu_count() or 1
_SLACK = 6 * runner.MAX_PRINTED + 1_000
_TOKEN_LENGTH = 32
_HEADER_LENGTH = _TOKEN_LENGTH + 10
_REAP_TIMEOUT_SECONDS = 1.5

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class CodeConfig(NodeConfig, title="Code", category="data"):
    """Runs Python over its input, in a process of its own."""

    code: str = Field(title="Python", max_length=MAX_CODE_CHARS, json_schema_extra=LONG_TEXT)
    """An expression over ``input``, or statements that end with one or assign ``output``."""
    processing_mode: Annotated[ProcessingMode, BeforeValidator(trimmed)] = Field(
        default=ProcessingMode.BATCH, title="Processing"
    )
    """``perRow`` runs it for each record of a list."""

    @field_validator("code")
    @classmethod
    def _is_python(cls, code: str) -> str:
        try:
            runner.parse(code)
        except runner.CodeError as fault:
            raise ValueError(str(fault)) from None
        return code


@dataclass(frozen=True, slots=True)
class _ResourceLimits:
    seconds: float
    memory_mb: int


@task(name="code")
async def handle_code(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """What the code makes of its input. The result also has ``stdout``, what the code printed.

    The code is no template: it is not filled.

    Raises:
        NodeError: the node is off, the code failed, or it broke a bound; never worth a retry.
    """
    run = current_node_run()
    if not run.settings.enable_code_node:
        raise NodeError(f"the node type 'code' {CODE_NODE_DISABLED_MESSAGE}", retryable=False)
    config = read_config(CodeConfig, node)
    request: dict[str, JsonValue] = {
        "code": config.code,
        "input": input_data,
        "inputs": run.inputs(),
        "perRow": config.processing_mode == ProcessingMode.PER_ROW,
    }
    async with _slot():
        answer = await _answer(request, _bounds(config, run.settings))
    return {
        "success": True,
        "message": "Code executed",
        "outputData": answer["output"],
        "stdout": answer["stdout"],
    }


def _bounds(config: CodeConfig, settings: HandlerSettings) -> _ResourceLimits:
    seconds = config.timeout_seconds
    return _ResourceLimits(
        settings.code_timeout_seconds if seconds is None else seconds, settings.code_memory_mb
    )


def _slot() -> asyncio.Semaphore:
    """At most so many processes at once as there are processors; the others wait."""
    loop = asyncio.get_running_loop()
    if loop not in _slots:
        _slots[loop] = asyncio.Semaphore(_PROCESSES)
    return _slots[loop]


async def _answer(request: dict[str, JsonValue], bounds: _ResourceLimits) -> dict[str, JsonValue]:
    directory = mkdtemp(prefix="code-")
    try:
        frame, status = await _run(directory, request, bounds)
    finally:
        # In a thread: what the code left there may be a hundred thousand files.
        await asyncio.shield(asyncio.to_thread(_remove, directory))
    if frame is None:
        raise _fault(_how_it_ended(status, bounds))
    error = frame.get("error")
    if error == "memory":
        raise _fault(f"used more memory than {bounds.memory_mb} MB (CODE_MEMORY_MB)")
    if error is not None:
        raise _fault(str(error))
    if not isinstance(frame.get("stdout"), str) or "output" not in frame:
        raise _fault(_FORGED_RESULT_MESSAGE)
    return frame


async def _run(
    directory: str, request: dict[str, JsonValue], bounds: _ResourceLimits
) -> tuple[dict[str, JsonValue] | None, int | None]:
    """The frame, ``None`` where there came none, and the status with which the process ended."""
    process = await _start(directory, bounds)
    try:
        async with asyncio.timeout(bounds.seconds):
            frame = await _exchange(process, request)
    except TimeoutError:
        raise _fault(f"took longer than {bounds.seconds:g} s") from None
    except asyncio.IncompleteReadError:
        frame = None
    finally:
        await _end(process)
    return frame, process.returncode


def _remove(directory: str) -> None:
    """Removes a directory with all that is in it, however deep; what cannot be removed stays.

    What is deep is brought to the top first: ``shutil.rmtree`` calls itself for each level.
    """
    names = itertools.count()
    todo = [directory]
    with suppress(OSError):
        while todo:
            place = todo.pop()
            Path(place).chmod(0o700)
            with os.scandir(place) as found:
                entries = list(found)
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{directory}.{next(names)}")
                    Path(entry.path).rename(todo[-1])
                else:
                    Path(entry.path).unlink()
            Path(place).rmdir()


async def _start(directory: str, bounds: _ResourceLimits) -> Process:
    arguments = (
        bounds.memory_mb,
        math.ceil(bounds.seconds),
        MAX_OUTPUT_BYTES,
        os.getpid(),
    )
    # Windows starts no program without this one; elsewhere the environment is empty.
    environment = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-B", "-X", "utf8", str(RUNNER)),
        *map(str, arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd=directory,
        env=environment,
        start_new_session=True,
    )


async def _exchange(process: Process, request: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Sends the request and reads the one frame of the answer, which begins with a word that the
    code does not know.

    Raises:
        asyncio.IncompleteReadError: the process ended before it gave one.
        NodeError: what came is no frame, or too long a one.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    token = secrets.token_hex(_TOKEN_LENGTH // 2).encode()
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(token + b"\n" + encode_json(request).encode())
        await process.stdin.drain()
    process.stdin.close()
    header = await process.stdout.readexactly(_HEADER_LENGTH)
    length = header[_TOKEN_LENGTH:]
    if not header.startswith(token) or not length.isdigit():
        raise _fault(_FORGED_RESULT_MESSAGE)
    if int(length) > MAX_OUTPUT_BYTES + _SLACK:
        raise _fault(f"wrote too much, more than {MAX_OUTPUT_BYTES} bytes")
    try:
        frame = load_json(await process.stdout.readexactly(int(length)))
    except ValueError:
        raise _fault(_FORGED_RESULT_MESSAGE) from None
    if not isinstance(frame, dict):
        raise _fault(_FORGED_RESULT_MESSAGE)
    return cast("dict[str, JsonValue]", frame)


async def _end(process: Process) -> None:
    """Kills the process and all that it started, and leaves no zombie."""
    if sys.platform == "win32":
        with suppress(ProcessLookupError):
            process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAP_TIMEOUT_SECONDS):
            await process.wait()


def _how_it_ended(status: int | None, bounds: _ResourceLimits) -> str:
    if status is None or status >= 0:
        return f"ended its process before it gave an output (exit code {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name in ("SIGXCPU", "SIGALRM"):
        return f"took longer than {bounds.seconds:g} s"
    return f"was ended by {name} before it gave an output"


def _fault(reason: str) -> NodeError:
    return NodeError(f"the code {reason}", retryable=False)
