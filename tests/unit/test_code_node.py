"""Code node: outputs of the code, and error messages for its author."""

import re
import subprocess
import sys
from typing import Any

import pytest

from engine.document import Node
from engine.errors import NodeError
from tasks.code.node import MAX_CODE_CHARS, RUNNER
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.node_handlers import NODE_HANDLERS
from tasks.registry import DEFAULT
from tests.support.code_calls import failure, run

OUTPUTS: list[tuple[str, Any, Any]] = [
    ("1 + 1", None, 2),
    ("input['a'] * 2", {"a": 3}, 6),
    ("[row['n'] for row in input if row['n'] > 1]", [{"n": 1}, {"n": 2}], [2]),
    ("None", 1, None),
    ("inputs", None, {"who": "Ada"}),
    ("x = 1\ny = 2\nx + y", None, 3),
    ("output = {'a': [1, 2.5, True, None, 'ü']}", None, {"a": [1, 2.5, True, None, "ü"]}),
    ("result = 5", None, 5),
    ("output = 1\nresult = 2\n3", None, 1),
    ("def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nf(20)", None, 2432902008176640000),
    ("import json, re, statistics\nstatistics.mean(input)", [1, 2, 3], 2),
    ("from collections import Counter\nCounter(input)", ["a", "b", "a"], {"a": 2, "b": 1}),
    ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    output = 'caught'", None, "caught"),
    ("input['a'] = 2\ninput", {"a": 1}, {"a": 2}),
    ("'{{ a }}' + input['a']", {"a": "'; import os #"}, "{{ a }}'; import os #"),
    ("'x' * 1_000_000", None, "x" * 1_000_000),
    ("input", "y" * 3_000_000, "y" * 3_000_000),
    ("__name__", None, "code"),
    ("def process(data):\n    return data['a'] + 1", {"a": 1}, 2),
    ("def process(data):\n    return 1\noutput = 2", None, 2),
    ("def process(data):\n    return 1\n3", None, 3),
]


@pytest.mark.parametrize(("code", "data", "output"), OUTPUTS)
async def test_the_output_of_the_code(code: str, data: Any, output: Any):
    result = await run(code, data)
    assert result == {
        "success": True,
        "message": "Code executed",
        "outputData": output,
        "stdout": "",
    }


@pytest.mark.parametrize(
    ("data", "output"), [([1, 2], [2, 4]), ([], []), (3, 6), ([[1]], [[1, 1]])]
)
async def test_per_row_runs_for_each_record_of_a_list(data: Any, output: Any):
    code = "assert 'seen' not in globals()\nseen = True\ninput * 2"
    assert (await run(code, data, processingMode="perRow"))["outputData"] == output


async def test_per_row_names_the_record_that_failed():
    message = await failure("1 / input", [1, 0], processingMode="perRow")
    assert message == (
        "the code record 1: raised ZeroDivisionError: division by zero (line 1: 1 / input)"
    )


async def test_printed_text_is_returned_next_to_the_output():
    result = await run("import sys\nprint('a', 1)\nprint('b', file=sys.stderr)\n7")
    assert (result["outputData"], result["stdout"]) == (7, "a 1\nb\n")


async def test_long_printed_text_is_truncated_and_marked():
    printed = (await run("for _ in range(20):\n    print('ü' * 999)\n'done'"))["stdout"]
    assert printed.startswith("ü" * 999 + "\n")
    assert printed.endswith("\n… 10000 more characters")
    assert len(printed) < 10_100


async def test_half_of_a_surrogate_pair_may_be_printed():
    assert (await run(r"print('a\ud800')"))["stdout"] == "a?\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero (line 1: 1 / 0)"),
        (
            "def f(x):\n    return int(x)\n\nf('a')",
            "raised ValueError: invalid literal for int() with base 10: 'a' "
            "(line 4, line 2 in f: return int(x))",
        ),
        ("import json\njson.loads('{')", "(line 2: json.loads('{'))"),
        ("input['b']", "raised KeyError: 'b' (line 1: input['b'])"),
        ("raise Exception", "raised Exception (line 1: raise Exception)"),
        ("def f(): f()\nf()", "RecursionError"),
        ("import requests", "raised ModuleNotFoundError: No module named 'requests'"),
        ("import tasks", "raised ModuleNotFoundError: No module named 'tasks'"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "raised E: <no text>"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("import sys\nsys.exit('enough')", "exited with enough"),
        ("import os\nos._exit(3)", "exited before it returned an output (exit code 3)"),
        ("x = 1", "returns nothing: end it with an expression, assign 'output', or"),
        ("{'a': [0, {1}]}", "not JSON: Object of type set is not JSON serializable"),
        ("[float('nan')]", "not JSON: Out of range float values are not JSON compliant"),
        ("10 ** 5000", "not JSON: Exceeds the limit (4300 digits)"),
        (r"{'a': '\ud800'}", "surrogates not allowed"),
        ("import datetime\n[datetime.date(2026, 1, 1)]", "not JSON: Object of type date is not"),
        ("a = []\na.append(a)\na", "not JSON: Circular reference detected"),
        ("a = 1\nfor _ in range(300): a = [a]\na", "nested deeper than 200 levels"),
        ("'x' * 11_000_000", "returns 11000002 bytes of output, more than 10485760"),
    ],
)
async def test_an_error_names_the_line(code: str, reason: str):
    message = await failure(code, {})
    assert message.startswith("the code ")
    assert reason in message
    assert "runner.py" not in message


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "'code' is required"),
        ({"code": " "}, "'code' is required"),
        ({"code": ["1"]}, "'code' should be a string, not of type list"),
        ({"code": "a = = 1"}, "invalid syntax at line 1, position 5"),
        ({"code": "a = 1\n  b"}, "unexpected indent at line 2"),
        ({"code": "return 1"}, "'return' outside function at line 1, position 1"),
        ({"code": "await x"}, "'await' outside function"),
        ({"code": "1\0"}, "is not valid Python: source code string cannot contain null bytes"),
        ({"code": "(" * 20_000}, "too many nested parentheses"),
        ({"code": "-" * 40_000 + "1"}, "is nested too deeply"),
        ({"code": "1" + "+1" * 20_000}, "is nested too deeply"),
        ({"code": "#" * (MAX_CODE_CHARS + 1)}, "at most 50000 characters"),
        ({"code": "1", "processingMode": "each"}, "'processingMode' should be 'batch' or 'perRow'"),
    ],
)
def test_an_invalid_config_is_rejected_with_its_position(config: dict[str, Any], reason: str):
    node = Node("n1", "code", "N", config, "/nodes/0", "/nodes/0/config")
    (problem,) = DEFAULT.check(node)
    assert problem.code == "invalid_config"
    assert reason in problem.detail


def test_a_disabled_type_is_known_and_rejected():
    types = DEFAULT.without({"code": "is disabled"})
    assert types.known == DEFAULT.known
    node = Node("n1", "code", "N", {"code": "a ="}, "/nodes/0", "/nodes/0/config")
    disabled, invalid = types.check(node)
    assert (disabled.code, disabled.pointer, disabled.node_id) == (
        "node_type_disabled",
        "/nodes/0/type",
        "n1",
    )
    assert disabled.detail == "node 'n1' (code): the type is disabled"
    assert invalid.code == "invalid_config"


async def test_a_disabled_node_does_not_run():
    enter_node_run(NodeRun())
    with pytest.raises(NodeError, match="ENABLE_CODE_NODE=true") as raised:
        await NODE_HANDLERS["code"].fn({"config": {"code": "1"}}, None)
    assert not raised.value.retryable


def test_the_process_starts_fast_because_it_imports_the_standard_library_only():
    command = [sys.executable, "-I", "-S", "-X", "importtime", RUNNER]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    imported = set(re.findall(r"^import time:.*\| +(\w+)[\w.]*$", process.stderr, re.MULTILINE))
    assert imported
    assert imported <= sys.stdlib_module_names | {"zipimport"}
    assert "not enough values to unpack" in process.stderr


async def test_python_is_another_name_of_code():
    settings = HandlerSettings(enable_code_node=True)
    enter_node_run(NodeRun(settings, inputs=dict))
    config = {"pythonCode": "def process(data):\n    return data * 2"}
    node = {"id": "n1", "type": "python", "config": {**config, "processingMode": "perRow"}}
    result = await NODE_HANDLERS["python"].fn(node, [1, 2])
    assert result["outputData"] == [2, 4]


async def test_an_exception_in_process_names_its_line():
    message = await failure("def process(data):\n    return 1 / data", 0)
    assert "ZeroDivisionError" in message
    assert "line 2 in process: return 1 / data" in message


async def test_python_is_disabled_with_code():
    enter_node_run(NodeRun(HandlerSettings()))
    node = {"id": "n1", "type": "python", "config": {"pythonCode": "1"}}
    with pytest.raises(NodeError, match="the node type 'python' is disabled"):
        await NODE_HANDLERS["python"].fn(node, None)
