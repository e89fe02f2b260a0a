"""Code runner: each limit accepts a value of exactly its size, and rejects the next larger one."""

from typing import Any

import pytest

from tasks.code.runner import (
    MAX_PRINTED_CHARS,
    CodeError,
    _CapturedStdout,
    _encoded,
    _format_error,
)

MAX_SHOWN_CALLS = 5


def test_an_output_of_exactly_the_maximum_size_is_returned():
    output = "ü" * 10
    size = len(b'""') + len(output.encode())
    assert _encoded(output, "", size).startswith(b'{"output":"')
    with pytest.raises(CodeError, match=f"returns {size} bytes of output, more than {size - 1}"):
        _encoded(output, "", size - 1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_of_exactly_the_maximum_number_of_digits_is_returned(sign: int):
    assert _encoded(sign * (10**4300 - 1), "", 10_000)
    with pytest.raises(CodeError, match="not JSON: Exceeds the limit"):
        _encoded(sign * 10**4300, "", 10_000)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_a_printed_text_of_exactly_the_maximum_length_is_kept(pieces: int):
    printed = _CapturedStdout()
    for _ in range(pieces):
        printed.write("x" * (MAX_PRINTED_CHARS // pieces))
    assert printed.text() == "x" * MAX_PRINTED_CHARS
    printed.write("y")
    assert printed.text() == "x" * MAX_PRINTED_CHARS + "\n… 1 more characters"


@pytest.mark.parametrize("calls", [MAX_SHOWN_CALLS, MAX_SHOWN_CALLS + 1])
def test_exactly_the_maximum_number_of_calls_is_shown(calls: int):
    functions = [f"def f{i}(): return f{i + 1}()" for i in range(calls - 2)]
    lines = [*functions, f"def f{calls - 2}(): 1 / 0", "f0()"]
    names: dict[str, Any] = {}
    with pytest.raises(ZeroDivisionError) as raised:
        exec(compile("\n".join(lines), "<code>", "exec"), names)
    text = _format_error(raised.value, lines)
    assert text.count("line ") == MAX_SHOWN_CALLS - (calls > MAX_SHOWN_CALLS)
    assert ("…" in text) is (calls > MAX_SHOWN_CALLS)
    assert text.endswith(f"line {calls - 1} in f{calls - 2}: def f{calls - 2}(): 1 / 0)")
