"""Code runner: the program of a ``code`` node's process.

It sets the limits, runs the code and writes one result. The process is started with this file
alone (``python -I -S``), so it imports only the standard library.

Arguments: memory in MiB, seconds, maximum bytes of output, the parent's process id.
Standard input: ``{"code", "input", "inputs", "perRow"}`` as JSON.
Standard output: the length of the result in ten digits, then ``{"output", "stdout"}`` or
``{"error"}`` as JSON.
"""

import ast
import builtins
import io
import json
import os
import signal
import sys
from types import CodeType, TracebackType
from typing import Any, NoReturn, cast

SOURCE = "<code>"
"""The file name of the code in tracebacks."""
MAX_PRINTED_CHARS = 10_000
"""Maximum length of the printed text that is kept, in characters."""
KILL_MARGIN_SECONDS = 2
"""Time after the service's time limit at which the kernel ends the process, in seconds."""
LENGTH_DIGITS = 10
"""Number of digits that state the length of the result."""

_OUTPUT_NAMES = frozenset({"output", "result"})
_MAX_MESSAGE_CHARS = 1_000
_MAX_SHOWN_CALLS = 5
_MIB = 1024 * 1024
_PR_SET_PDEATHSIG = 1


class CodeError(Exception):
    """The code cannot be run, or failed; the message is for its author."""


class _CapturedStdout(io.TextIOBase):
    """Replaces ``sys.stdout`` and keeps the first characters that are written."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._kept = 0
        self._dropped = 0

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, text: str, /) -> int:
        """Keep the part of ``text`` that fits into the limit."""
        part = text[: MAX_PRINTED_CHARS - self._kept]
        if part:
            self._parts.append(part)
            self._kept += len(part)
        self._dropped += len(text) - len(part)
        return len(text)

    def text(self) -> str:
        """Return the kept text as valid Unicode, with the number of dropped characters."""
        kept = "".join(self._parts).encode(errors="replace").decode()
        return f"{kept}\n… {self._dropped} more characters" if self._dropped else kept


def main() -> NoReturn:
    """Run the code of standard input and end the process."""
    memory_mb, seconds, max_output, parent = map(int, sys.argv[1:5])
    # The result uses a copy of standard output, so that printed text does not mix with it.
    channel = os.dup(1)
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    printed = _CapturedStdout()
    sys.stdout = sys.stderr = printed
    os.environ.clear()
    _limit(memory_mb, seconds, parent)
    try:
        request = json.loads(sys.stdin.buffer.read())
        os.dup2(devnull, 0)
        result = _encoded(_run(request), printed.text(), max_output)
    except CodeError as error:
        result = json.dumps({"error": str(error)}).encode()
    except MemoryError:
        result = b'{"error": "memory"}'
    except Exception as error:  # noqa: BLE001 - methods of the output, which the code defines
        message = f"returns a value that cannot be read: {_text(type(error).__name__)}"
        result = json.dumps({"error": message}).encode()
    _send(channel, b"%0*d" % (LENGTH_DIGITS, len(result)) + result)
    os._exit(0)


def parse(code: str) -> ast.Module:
    """Return the syntax tree of the code; a ``CodeError`` names line and position of an error."""
    try:
        tree = ast.parse(code, SOURCE)
        compile(tree, SOURCE, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}, position {error.offset}" if error.lineno else "the code"
        raise CodeError(f"is not valid Python: {error.msg} at {where}") from None
    except (RecursionError, MemoryError):
        raise CodeError("is nested too deeply") from None
    except ValueError as error:  # a null byte, half of a surrogate pair
        raise CodeError(f"is not valid Python: {error}") from None
    return tree


def _limit(memory_mb: int, seconds: int, parent: int) -> None:
    """Set the limits that the platform supports; Windows supports none of them."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - 5 ms that only Linux needs

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the service ended before the call
            os._exit(1)
    # If the service is killed and cannot end this process, the kernel does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds + KILL_MARGIN_SECONDS)
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, memory_mb * _MIB),
    ]
    for which, maximum in limits:
        try:
            resource.setrlimit(which, (maximum, maximum))
        except (ValueError, OSError):  # macOS has no limit of the address space
            continue


def _run(request: dict[str, Any]) -> Any:
    tree = parse(request["code"])
    value: CodeType | None = None
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        del tree.body[-1]
        value = compile(ast.Expression(last.value), SOURCE, "eval", dont_inherit=True)
    body = compile(tree, SOURCE, "exec", dont_inherit=True)
    lines = request["code"].splitlines()
    data, inputs = request["input"], request["inputs"]
    if not (request["perRow"] and isinstance(data, list)):
        return _once(body, value, data, inputs, lines)
    outputs: list[Any] = []
    for index, record in enumerate(cast("list[Any]", data)):
        try:
            outputs.append(_once(body, value, record, inputs, lines))
        except CodeError as error:
            raise CodeError(f"record {index}: {error}") from None
    return outputs


def _once(body: CodeType, value: CodeType | None, data: Any, inputs: Any, lines: list[str]) -> Any:
    names: dict[str, Any] = {
        "__name__": "code",
        "__builtins__": builtins,
        "input": data,
        "inputs": inputs,
    }
    last: Any = None
    try:
        exec(body, names)  # noqa: S102 - the purpose of the node, in a separate process
        if value is not None:
            last = eval(value, names)  # noqa: S307 - the same
        elif not _OUTPUT_NAMES & names.keys() and callable(process := names.get("process")):
            return process(data)
    except MemoryError:
        raise
    except SystemExit as error:
        raise CodeError(f"exited with {_text(error.code)}") from None
    except BaseException as error:  # noqa: BLE001 - every exception is reported to the author
        raise CodeError(_format_error(error, lines)) from None
    for name in sorted(_OUTPUT_NAMES):
        if name in names:
            return names[name]
    if value is None:
        raise CodeError(
            "returns nothing: end it with an expression, assign 'output', or define process(data)"
        )
    return last


def _format_error(error: BaseException, lines: list[str]) -> str:
    """Return type, message and the lines of the user's code in the traceback, outermost first."""
    calls: list[str] = []
    entry: TracebackType | None = error.__traceback__
    source = ""
    while entry is not None:
        code = entry.tb_frame.f_code
        if code.co_filename == SOURCE:
            function = "" if code.co_name == "<module>" else f" in {code.co_name}"
            calls.append(f"line {entry.tb_lineno}{function}")
            if entry.tb_lineno <= len(lines):
                source = f": {lines[entry.tb_lineno - 1].strip()[:200]}"
        entry = entry.tb_next
    if len(calls) > _MAX_SHOWN_CALLS:
        calls[2 : 3 - _MAX_SHOWN_CALLS] = ["…"]
    message = _text(error)
    name = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"raised {name} ({', '.join(calls)}{source})" if calls else f"raised {name}"


def _text(value: object) -> str:
    try:
        return str(value)[:_MAX_MESSAGE_CHARS].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - the code's ``__str__`` fails
        return "<no text>"


def _encoded(output: Any, printed: str, max_output: int) -> bytes:
    try:
        text = json.dumps(output, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        encoded = text.encode()
    except (TypeError, ValueError) as error:
        raise CodeError(f"returns a value that is not JSON: {_text(error)}") from None
    if len(encoded) > max_output:
        raise CodeError(f"returns {len(encoded)} bytes of output, more than {max_output}")
    stdout = json.dumps(printed, ensure_ascii=False).encode()
    return b'{"output":%s,"stdout":%s}' % (encoded, stdout)


def _send(channel: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
