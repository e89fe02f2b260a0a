"""Code node: runs a Python expression or statements in a child process with limits.

The limits protect against accidents. This is not a sandbox, because the process can read the files
of the service's user and open connections. Therefore ``ENABLE_CODE_NODE`` enables it (decision
0018).
"""

import asyncio
import math
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakKeyDictionary

from prefect import task
from pydantic import AliasChoices, Field, field_validator

from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, encode_json, is_object, load_json
from tasks.code import runner
from tasks.compute import success
from tasks.config.base import NodeConfig, read_config
from tasks.config.fields import LONG_TEXT, Mode
from tasks.context import current_node_run

CODE, PYTHON = "code", "python"
"""Names of the node type."""
RUNNER = Path(runner.__file__).resolve()
MAX_OUTPUT_BYTES = 10 * 1024 * 1024
"""Maximum size of the output as JSON, in bytes."""
MAX_CODE_CHARS = 50_000
"""Maximum length of the code, in characters, because the service parses it at each submission."""
CODE_NODE_DISABLED_MESSAGE = "is disabled; set ENABLE_CODE_NODE=true to enable it"

_INVALID_RESULT_MESSAGE = "wrote into the pipe of its result"
_MAX_PROCESSES = os.cpu_count() or 1
_MAX_RESULT_BYTES = MAX_OUTPUT_BYTES + 6 * runner.MAX_PRINTED_CHARS + 1_000
_REAP_TIMEOUT_SECONDS = 1.5

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class CodeConfig(NodeConfig, title="Code", category="data"):
    """Runs Python over its input, in a separate process."""

    code: str = Field(title="Python", max_length=MAX_CODE_CHARS, json_schema_extra=LONG_TEXT)
    """An expression over ``input``, statements that end with one or assign ``output``, or the
    function ``process(data)``."""
    processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` runs it for each record of a list."""

    @field_validator("code")
    @classmethod
    def _is_python(cls, code: str) -> str:
        return _checked(code)


class PythonConfig(NodeConfig, title="Python", category="data"):
    """Runs Python over its input, in a separate process; another name of ``code``."""

    python_code: str = Field(
        title="Python",
        max_length=MAX_CODE_CHARS,
        validation_alias=AliasChoices("pythonCode", "code"),
        json_schema_extra=LONG_TEXT,
    )
    """The function ``process(data)``, an expression over ``input``, or statements."""
    processing_mode: Mode = Field(default="batch", title="Processing")
    """``perRow`` runs it for each record of a list."""

    @field_validator("python_code")
    @classmethod
    def _is_python(cls, code: str) -> str:
        return _checked(code)


def _checked(code: str) -> str:
    try:
        runner.parse(code)
    except runner.CodeError as error:
        raise ValueError(str(error)) from None
    return code


@dataclass(frozen=True, slots=True)
class _ResourceLimits:
    seconds: float
    memory_mb: int


@task(name="code")
async def handle_code(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Run the code of the node; the result has ``outputData`` and ``stdout``, the printed text.

    The code is not a template. Raises a ``NodeError``, never retryable, if the node type is
    disabled, the code fails, or it exceeds a limit.
    """
    _require_enabled(CODE)
    config = read_config(CodeConfig, node)
    return await _execute(config.code, config, input_data)


@task(name="python")
async def handle_python(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Run the code of the node; see ``handle_code``."""
    _require_enabled(PYTHON)
    config = read_config(PythonConfig, node)
    return await _execute(config.python_code, config, input_data)


def _require_enabled(node_type: str) -> None:
    if not current_node_run().settings.enable_code_node:
        raise PermanentError(f"the node type '{node_type}' {CODE_NODE_DISABLED_MESSAGE}")


async def _execute(
    code: str, config: CodeConfig | PythonConfig, input_data: JsonValue
) -> dict[str, JsonValue]:
    run = current_node_run()
    request: dict[str, JsonValue] = {
        "code": code,
        "input": input_data,
        "inputs": run.inputs(),
        "perRow": config.processing_mode == "perRow",
    }
    async with _slot():
        seconds = config.timeout_seconds or run.settings.code_timeout_seconds
        result = await _run(request, _ResourceLimits(seconds, run.settings.code_memory_mb))
    return success("Code executed", result["output"], stdout=result["stdout"])


def _slot() -> asyncio.Semaphore:
    """Return the semaphore that limits the processes of this loop to the number of processors."""
    loop = asyncio.get_running_loop()
    if loop not in _slots:
        _slots[loop] = asyncio.Semaphore(_MAX_PROCESSES)
    return _slots[loop]


async def _run(request: dict[str, JsonValue], limits: _ResourceLimits) -> Mapping[str, JsonValue]:
    directory = TemporaryDirectory(prefix="code-", ignore_cleanup_errors=True)
    try:
        result, status = await _run_process(directory.name, request, limits)
    finally:
        # In a thread, because the code may have created a hundred thousand files.
        await asyncio.shield(asyncio.to_thread(directory.cleanup))
    if result is None:
        raise _code_error(_exit_reason(status, limits))
    error = result.get("error")
    if error == "memory":
        raise _code_error(f"used more memory than {limits.memory_mb} MB (CODE_MEMORY_MB)")
    if error is not None:
        raise _code_error(str(error))
    return result


async def _run_process(
    directory: str, request: dict[str, JsonValue], limits: _ResourceLimits
) -> tuple[Mapping[str, JsonValue] | None, int | None]:
    """Return the result, or ``None`` if the process wrote none, and the exit status."""
    process = await _start(directory, limits)
    try:
        async with asyncio.timeout(limits.seconds):
            result = await _exchange(process, request)
    except TimeoutError:
        raise _code_error(f"took longer than {limits.seconds:g} s") from None
    except asyncio.IncompleteReadError:
        result = None
    finally:
        await _kill(process)
    return result, process.returncode


async def _start(directory: str, limits: _ResourceLimits) -> Process:
    arguments = (limits.memory_mb, math.ceil(limits.seconds), MAX_OUTPUT_BYTES, os.getpid())
    # Windows starts no program without this variable; elsewhere the environment is empty.
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


async def _exchange(process: Process, request: dict[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Send the request and return the result: its length in ten digits, then JSON.

    ``IncompleteReadError`` means that the process ended before it wrote a result, and ``NodeError``
    that the result is invalid or too long.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(encode_json(request).encode())
        await process.stdin.drain()
    process.stdin.close()
    length = await process.stdout.readexactly(runner.LENGTH_DIGITS)
    if not length.isdigit() or int(length) > _MAX_RESULT_BYTES:
        raise _code_error(_INVALID_RESULT_MESSAGE)
    try:
        result = load_json(await process.stdout.readexactly(int(length)))
    except ValueError as error:
        raise _code_error(f"returned a result that cannot be read: {error}") from None
    if not is_object(result):
        raise _code_error(_INVALID_RESULT_MESSAGE)
    return result


async def _kill(process: Process) -> None:
    """Kill the process and the processes that it started, and wait for its exit status."""
    if sys.platform == "win32":
        with suppress(ProcessLookupError):
            process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAP_TIMEOUT_SECONDS):
            await process.wait()


def _exit_reason(status: int | None, limits: _ResourceLimits) -> str:
    if status is None or status >= 0:
        return f"exited before it returned an output (exit code {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGALRM":
        return f"took longer than {limits.seconds:g} s"
    return f"was ended by {name} before it returned an output"


def _code_error(reason: str) -> NodeError:
    return PermanentError(f"the code {reason}")
