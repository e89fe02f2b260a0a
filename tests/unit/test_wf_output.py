"""Tables of the command line."""

import io

import pytest
from rich.console import Console

from cli.output import print_executions

NAME = "A report of all cities"
EXECUTION = {
    "id": "8f5da1a7-f9e9-4b45-be58-366ba881f7e1",
    "status": "completed",
    "createdAt": "2026-11-28T10:58:32.420Z",
    "workflowName": NAME,
    "error": None,
}


@pytest.mark.parametrize(("terminal", "shown"), [(True, NAME[:9]), (False, NAME)])
def test_an_execution_is_one_row_with_its_whole_id(terminal: bool, shown: str) -> None:
    text = io.StringIO()
    print_executions(Console(file=text, width=80, force_terminal=terminal), [EXECUTION])
    rows = [row for row in text.getvalue().splitlines() if row.strip()]
    assert len(rows) == 2
    assert EXECUTION["id"] in rows[1]
    assert shown in rows[1]
