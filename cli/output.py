"""Output of the command line: tables for people, JSON for scripts.

Texts of workflows are printed without markup and control characters, because a label or an error
can contain any character.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.client import described
from cli.progress_view import STYLES, duration_text, printable

MIN_COLUMNS = (36, 9, 16, 11)
"""Minimum widths of the columns of the list of executions, in characters."""
MAX_PIPED_COLUMNS = 1_000
"""Maximum width of a table that is not printed to a terminal, in characters."""

_STATUS_STYLES = {**STYLES, "failed": "red", "pending": "dim", "skipped": "dim"}


def print_json(console: Console, value: object) -> None:
    """Print a value as indented JSON in ASCII, so that every terminal and pipe accepts it."""
    console.out(json.dumps(value, indent=2), highlight=False)


def print_error(console: Console, message: str) -> None:
    """Print a message of one or more lines."""
    for number, line in enumerate(message.splitlines() or [""]):
        indent = line[: len(line) - len(line.lstrip())]
        text = printable(line) if number else f"Error: {printable(line)}"
        console.print(indent + text, style="red", markup=False, soft_wrap=True)


def print_end(out: Console, err: Console, state: Mapping[str, Any]) -> None:
    """Print the result of an ended execution, or its error."""
    if state["status"] == "completed":
        print_json(out, state["finalOutput"])
    else:
        reason = state.get("error") or f"the execution is {state['status']}"
        print_error(err, str(reason))


def print_rerun_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print the nodes that a rerun would run, and those whose results it would reuse."""
    for title, key in (("Will run:", "willRun"), ("Reused:", "takenOver")):
        names = ", ".join(map(printable, plan[key])) or "none"
        console.print(f"{title} {names}", markup=False, soft_wrap=True, highlight=False)


def print_executions(console: Console, executions: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of executions."""
    if not executions:
        console.print("No executions.")
        return
    has_errors = any(execution.get("error") for execution in executions)
    names = ("execution", "status", "created", "workflow", "error")
    table = _table(*names[: None if has_errors else -1])
    for column in table.columns:
        column.no_wrap = True
    for column, width in zip(table.columns, MIN_COLUMNS, strict=False):
        column.min_width = width
    for execution in executions:
        table.add_row(
            Text(printable(execution["id"])),
            _status(execution["status"]),
            Text(printable(execution.get("createdAt") or "")[:16].replace("T", " ")),
            Text(printable(execution.get("workflowName") or execution["workflowId"])),
            *([Text(printable(execution.get("error") or "")[:80])] if has_errors else []),
        )
    # A pipe has no width, so that all of each row is printed.
    wide = Console(file=console.file, width=MAX_PIPED_COLUMNS)
    (console if console.is_terminal else wide).print(table)


def print_execution(
    console: Console, state: Mapping[str, Any], runs: Iterable[Mapping[str, Any]]
) -> None:
    """Print the state of an execution and a table of its node runs."""
    progress = state["progress"]
    head = Text.assemble(
        (printable(state["executionId"]), "bold"),
        "  ",
        _status(state["status"]),
        f"  {progress['percentage']} %",
        f"  {progress['completedNodes']} of {progress['totalNodes']} nodes completed",
    )
    console.print(head)
    console.print(Text(f"workflow {printable(state['workflowId'])}"))
    table = _table("node", "type", "status", "attempt", "duration", "error")
    for run in runs:
        duration = run.get("duration")
        table.add_row(
            Text(printable(run.get("nodeLabel") or run["nodeId"])),
            Text(printable(run.get("nodeType") or "")),
            _status(run.get("status")),
            str(run.get("attempt") or ""),
            duration_text(duration) if isinstance(duration, int | float) else "",
            Text(printable(run.get("error") or run.get("message") or "")),
        )
    console.print(table)
    if state.get("error"):
        print_error(console, str(state["error"]))
    elif state["status"] == "completed":
        print_json(console, state["finalOutput"])


def print_node_run(console: Console, run: Mapping[str, Any], *, payloads: bool) -> None:
    """Print one node run in a line, and with ``payloads`` its input and output."""
    duration = run.get("duration")
    parts = Text.assemble(
        (printable(run.get("timestamp") or ""), "dim"),
        "  ",
        _status(run.get("status")),
        f"  {printable(run.get('nodeLabel') or run['nodeId'])}",
        f"  {duration_text(duration)}" if isinstance(duration, int | float) else "",
        f"  {printable(run.get('error') or run.get('message') or '')}",
    )
    parts.rstrip()
    console.print(parts, soft_wrap=True)
    for name in ("inputData", "outputData") if payloads else ():
        console.out(f"    {name}: {json.dumps(run.get(name))}", highlight=False)


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print the errors and warnings of a document."""
    for name, style in (("errors", "red"), ("warnings", "yellow")):
        for error in report.get(name) or ():
            line = f"{name.removesuffix('s')}: {printable(described(error))}"
            console.print(line, style=style, markup=False, soft_wrap=True)
    console.print("The document is valid." if report["valid"] else "The document is not valid.")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _status(status: object) -> Text:
    return Text(printable(status), style=_STATUS_STYLES.get(str(status), ""))
