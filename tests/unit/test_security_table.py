"""The table of attacks in docs/explanation/security.md, compared with the tests that it names."""

import ast
import re

import pytest

from config import ROOT

PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
CASES = [f"A{number}" for number in range(1, 12)] + [f"B{number}" for number in range(1, 12)]
ROWS = {
    match[1]: match[2]
    for match in re.finditer(r"^\| ([AB]\d+) \|.*\|([^|]*)\|$", PAGE, re.MULTILINE)
}


def functions_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_the_table_has_a_row_for_every_case():
    assert list(ROWS) == CASES


@pytest.mark.parametrize("case", CASES)
def test_every_test_that_the_table_names_exists(case: str):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", ROWS[case])
    assert named
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in functions_in(path), name
