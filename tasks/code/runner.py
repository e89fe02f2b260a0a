"""What runs in the process of a ``code`` node: limits first, then the code, then one frame.

The process is started with this file alone (``python -I -S``), so it imports the standard library
and nothing of ours. Arguments: memory in MiB, seconds, most bytes of output, the parent's id.
Standard input: a line with a token, then ``{"code", "input", "inputs", "perRow"}`` as JSON.
Standard output: the token, ten digits of length, and so many bytes of JSON: ``{"output",
"stdout"}`` or ``{"error"}``.
"""

import ast
import builtins
import io
import json
import math
import os
import signal
import sys
from types import CodeType, TracebackType
from typing import Any, NoReturn, cast

SOURCE = "<code>"
"""The file name of the code in tracebacks."""
MAX_PRINTED = 10_000
"""How many characters of what the code prints are kept."""
MAX_DEPTH = 200
"""As ``engine.json_values.MAX_DEPTH``."""
KILL_MARGIN_SECONDS = 2
"""How much later than the service the process ends itself."""

_MAX_MESSAGE_CHARS = 1_000
_MAX_SHOWN_CALLS = 5
_OPEN_FILES = 64
_TOO_LARGE = 10**4300
_MIB = 1024 * 1024
_PR_SET_PDEATHSIG = 1

_REFUSED_EVENTS = frozenset(
    {
        *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"),
        *("os.system", "pty.spawn", "subprocess.Popen", "os.kill", "os.killpg"),
        "resource.prlimit",
    }
)
"""Python's audit events that start other processes, end them or set their limits."""


class CodeError(Exception):
    """The code cannot be run, or failed; the message is for its author."""


class _CapturedStdout(io.TextIOBase):
    """Takes the place of ``sys.stdout`` and keeps the beginning of what is written."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._kept = 0
        self._dropped = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str, /) -> int:
        """Keeps what still fits."""
        part = text[: MAX_PRINTED - self._kept]
        if part:
            self._parts.append(part)
            self._kept += len(part)
        self._dropped += len(text) - len(part)
        return len(text)

    def text(self) -> str:
        """What was kept, as valid Unicode, and how much was not."""
        kept = "".join(self._parts).encode(errors="replace").decode()
        return f"{kept}\n… {self._dropped} more characters" if self._dropped else kept


def main() -> NoReturn:
    """Runs the code of standard input and ends the process."""
    memory_mb, seconds, max_output, parent = map(int, sys.argv[1:5])
    channel = os.dup(1)
    own = os.getpid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    printed = _CapturedStdout()
    sys.stdout = sys.stderr = printed
    os.environ.clear()
    _limit(memory_mb, seconds, parent)
    token = sys.stdin.buffer.readline().strip()
    try:
        request = json.loads(sys.stdin.buffer.read())
        os.dup2(nowhere, 0)
        sys.addaudithook(_refuse_processes)
        output = _run(request)
        answer = _encoded(output, printed.text(), max_output)
    except CodeError as fault:
        answer = json.dumps({"error": str(fault)}).encode()
    except MemoryError:
        answer = b'{"error": "memory"}'
    except Exception as error:  # noqa: BLE001 - of what the code gave: its own methods
        told = f"gives what cannot be read: {_text(type(error).__name__)}"
        answer = json.dumps({"error": told}).encode()
    if os.getpid() == own:  # a copy of the process has nothing to say
        _send(channel, b"%s%010d" % (token, len(answer)))
        _send(channel, answer)
    os._exit(0)


def parse(code: str) -> ast.Module:
    """The code as a tree.

    Raises:
        CodeError: it is no Python; names line and position.
    """
    try:
        tree = ast.parse(code, SOURCE)
        compile(tree, SOURCE, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}, position {error.offset}" if error.lineno else "the code"
        raise CodeError(f"is no valid Python: {error.msg} at {where}") from None
    except (RecursionError, MemoryError):
        raise CodeError("is nested too deeply") from None
    except ValueError as error:  # a null byte, half of a surrogate pair
        raise CodeError(f"is no valid Python: {error}") from None
    return tree


def _limit(memory_mb: int, seconds: int, parent: int) -> None:
    """Bounds the process, as far as the platform does; Windows has none of this."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - 5 ms that only Linux needs

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it could be asked for
            os._exit(1)
    # Should the service be gone and unable to end this process, the kernel does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds + KILL_MARGIN_SECONDS)
    limits = [
        (resource.RLIMIT_CPU, seconds + KILL_MARGIN_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_AS, memory_mb * _MIB),
        (resource.RLIMIT_NPROC, 0),
    ]
    for which, most in limits:
        try:
            resource.setrlimit(which, (most, most))
        except (ValueError, OSError):  # macOS has no limit of the address space
            continue


def _refuse_processes(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _REFUSED_EVENTS:
        raise PermissionError(f"code may start or end no other process ({event})")


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
        except CodeError as fault:
            raise CodeError(f"record {index}: {fault}") from None
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
        exec(body, names)  # noqa: S102 - what the node is for, in a process of its own
        if value is not None:
            last = eval(value, names)  # noqa: S307 - the same
    except MemoryError:
        raise
    except SystemExit as error:
        raise CodeError(f"exited with {_text(error.code)}") from None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
        raise CodeError(_told(error, lines)) from None
    for name in ("output", "result"):
        if name in names:
            return names[name]
    if value is None:
        raise CodeError("gives nothing: end it with an expression, or assign 'output'")
    return last


def _told(error: BaseException, lines: list[str]) -> str:
    """Type, message and the lines of the user's code on the way to it, outermost first."""
    calls: list[str] = []
    at: TracebackType | None = error.__traceback__
    shown = ""
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_filename == SOURCE:
            inside = "" if code.co_name == "<module>" else f" in {code.co_name}"
            calls.append(f"line {at.tb_lineno}{inside}")
            if at.tb_lineno <= len(lines):
                shown = f": {lines[at.tb_lineno - 1].strip()[:200]}"
        at = at.tb_next
    if len(calls) > _MAX_SHOWN_CALLS:
        calls[2 : 3 - _MAX_SHOWN_CALLS] = ["…"]
    message = _text(error)
    what = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"raised {what} ({', '.join(calls)}{shown})" if calls else f"raised {what}"


def _text(value: object) -> str:
    try:
        return str(value)[:_MAX_MESSAGE_CHARS].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - its own __str__ fails
        return "<no text>"


def _encoded(output: Any, printed: str, max_output: int) -> bytes:
    if flaw := _why_not_json(output):
        raise CodeError(f"gives what is no JSON: {flaw}")
    text = json.dumps(output, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > max_output:
        raise CodeError(f"gives {len(text)} bytes of output, more than {max_output}")
    stdout = json.dumps(printed, ensure_ascii=False).encode()
    return b'{"output":%s,"stdout":%s}' % (text, stdout)


def _why_not_json(value: object) -> str | None:
    """Why JSON cannot carry ``value`` as it is, naming the place, or ``None`` when it can.

    Stricter than a handler's result: tuples and keys that are no texts are rather a mistake here.
    """
    stack: list[tuple[Any, str, int]] = [(value, "", 0)]
    while stack:
        item, place, depth = stack.pop()
        inside: Any = ()
        if isinstance(item, dict):
            fields: dict[Any, Any] = item  # pyright: ignore[reportUnknownVariableType]
            for key in fields:
                if not isinstance(key, str) or not _is_unicode(key):
                    return _at(f"a key that is no text, {_text(repr(key))[:100]}", place)
            inside = fields.items()
        elif isinstance(item, list):
            inside = enumerate(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        elif flaw := _flaw(item):
            return _at(flaw, place)
        if inside and depth >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        stack.extend((inner, f"{place}.{key}", depth + 1) for key, inner in inside)
    return None


def _flaw(item: object) -> str | None:
    if item is None or isinstance(item, bool):
        return None
    if isinstance(item, str):
        return None if _is_unicode(item) else "a text that is not valid Unicode"
    if isinstance(item, int):
        return None if -_TOO_LARGE < item < _TOO_LARGE else "a number of more than 4300 digits"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"{item} is no JSON number"
    kind = type(item)
    hint = "; make it a list" if issubclass(kind, tuple | set | frozenset) else ""
    return f"a value of type {kind.__name__}{hint}"


def _at(flaw: str, place: str) -> str:
    return f"{flaw} (at {place[1:][:200]})" if place else flaw


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _send(channel: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view) :]


if __name__ == "__main__":
    main()
