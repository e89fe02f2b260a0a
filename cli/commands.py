"""Commands of ``./wf``: run, list, show, logs, cancel, rerun and validate."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from cli import output
from cli.client import ServiceClient
from cli.connection import connected
from cli.documents import is_file, read_inputs, read_workflow
from cli.errors import CommandError, ExitCode
from cli.follow import Follower
from version import VERSION

COMMAND = "wf.bat" if os.name == "nt" else "./wf"
STATUSES = ("pending", "running", "waiting", "completed", "failed", "cancelled")
MAX_LISTED = 1_000

EPILOG = """\b
Exit codes:
  0    done; a followed execution completed, a document is valid
  1    a followed execution failed, or a document is invalid
  2    a wrong argument, an unknown id, or a rejected request
  3    a followed execution was cancelled
  4    no service responds, it cannot respond now, or it does not accept the key
  130  interrupted by Ctrl-C; executions continue in the service

Without --url, the commands use the service that runs with the settings of this directory (.env),
or start one with these settings for the duration of the command.
"""

_EXIT_CODES = {"completed": ExitCode.DONE, "cancelled": ExitCode.CANCELLED}
"""Final status of an execution -> exit code; any other status is a failure."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the group, and the outputs."""

    url: str | None
    key: str | None
    out: Console
    err: Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # Otherwise a Windows code page could not print the labels of nodes.
        stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    err = Console(stderr=True, highlight=False)
    try:
        code = command_line.main(
            arguments if arguments is None else list(arguments),
            prog_name=COMMAND,
            standalone_mode=False,
        )
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        err.print(f"Error: {message} See {COMMAND} --help", markup=False, soft_wrap=True)
        return ExitCode.REJECTED
    except CommandError as error:
        output.print_error(err, str(error))
        return error.code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else 0


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="WF_URL", metavar="URL", help="Address of the service (WF_URL).")
@click.option("--key", envvar="WF_KEY", metavar="KEY", help="API key (WF_KEY).")
@click.version_option(VERSION, prog_name="Workflow Orchestration Service")
@click.pass_context
def command_line(context: click.Context, url: str | None, key: str | None) -> None:
    """Run workflows and watch them, in the terminal or in scripts."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    context.obj = Options(url or None, key or None, out, err)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_inputs = click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input; a value that is JSON is that value, otherwise a string. May be repeated.",
)
_follow = click.option("--follow", "-f", is_flag=True, help="Show the execution until it ends.")


@command_line.command("run")
@click.argument("target", metavar="FILE|ID")
@_inputs
@_follow
@_as_json
@click.pass_obj
def run_command(
    options: Options, target: str, inputs: tuple[str, ...], *, follow: bool, as_json: bool
) -> int:
    """Start an execution of a workflow file ('-': standard input) or of a saved workflow.

    Without a running service, the command always follows the execution.
    """
    body: dict[str, Any] = {"inputs": read_inputs(inputs)} if inputs else {}
    document = None
    if is_file(target):
        document, name = read_workflow(target)
        body |= {"graph": document} | ({"workflowName": name} if name else {})
    else:
        body["workflowId"] = target
    with connected(options.url, options.key) as (client, is_temporary):
        if document is None and (follow or is_temporary) and not as_json:
            document = _saved_document(client, target)
        started = client.execute(body)
        return _after_start(
            options, client, started, document, follow=follow or is_temporary, as_json=as_json
        )


@command_line.command("rerun")
@click.argument("execution_id", metavar="EXECUTION")
@click.option("--from", "fromNodeId", metavar="NODE", help="Run this node and all after it again.")
@click.option(
    "--definition",
    type=click.Choice(["original", "current"]),
    help="Run the definition of the old execution (default), or the workflow as it is now.",
)
@click.option("--dry-run", "dryRun", is_flag=True, help="Only print which nodes would run.")
@_inputs
@_follow
@_as_json
@click.pass_obj
def rerun_command(
    options: Options,
    execution_id: str,
    inputs: tuple[str, ...],
    *,
    follow: bool,
    as_json: bool,
    **fields: Any,  # of the body of the request
) -> int:
    """Run an ended execution again, and reuse the results of nodes that completed."""
    body = {name: value for name, value in fields.items() if value}
    if inputs:
        body["inputs"] = read_inputs(inputs)
    with connected(options.url, options.key) as (client, is_temporary):
        started = client.rerun(execution_id, body)
        if "dryRun" in body:
            (output.print_json if as_json else output.print_rerun_plan)(options.out, started)
            return ExitCode.DONE
        return _after_start(
            options, client, started, None, follow=follow or is_temporary, as_json=as_json
        )


def _after_start(
    options: Options,
    client: ServiceClient,
    started: dict[str, Any],
    document: object,
    *,
    follow: bool,
    as_json: bool,
) -> int:
    """Print the started execution, follow it if requested, and return the exit code."""
    execution_id = str(started["executionId"])
    if not follow:
        if as_json:
            output.print_json(options.out, started)
        else:
            print(execution_id)  # noqa: T201 - alone, for $(./wf run …)
        return ExitCode.DONE
    if not as_json:
        name = output.printable(started.get("workflowName") or started.get("workflowId"))
        options.err.print(f"{name}  {execution_id}", markup=False, soft_wrap=True)
    try:
        state = Follower(client, options.err).follow(execution_id, document, quiet=as_json)
    except KeyboardInterrupt:
        options.err.print(f"Interrupted. Its state: {COMMAND} show {execution_id}", markup=False)
        raise
    if as_json:
        output.print_json(options.out, state)
    else:
        output.print_end(options.out, options.err, state)
    return _EXIT_CODES.get(str(state["status"]), ExitCode.FAILED)


def _saved_document(client: ServiceClient, workflow_id: str) -> object:
    """Return the document of a saved workflow, or ``None`` if the key cannot read it."""
    try:
        return client.workflow(workflow_id).get("data")
    except CommandError:
        return None  # the submission reports an unknown workflow


@command_line.command("list")
@click.option("--workflow", "workflow_id", metavar="ID", help="Only executions of this workflow.")
@click.option("--status", type=click.Choice(STATUSES), help="Only executions with this status.")
@click.option("--organization", metavar="ID", help="Only executions of this organization.")
@click.option("--limit", type=click.IntRange(1, MAX_LISTED), default=20, show_default=True)
@_as_json
@click.pass_obj
def list_command(
    options: Options,
    workflow_id: str | None,
    status: str | None,
    organization: str | None,
    limit: int,
    *,
    as_json: bool,
) -> int:
    """List executions, newest first."""
    filters = {"workflowId": workflow_id, "status": status, "organizationId": organization}
    params = {name: value for name, value in filters.items() if value is not None}
    with connected(options.url, options.key) as (client, _):
        page = client.executions({**params, "limit": limit})
    if as_json:
        output.print_json(options.out, page)
    else:
        output.print_executions(options.out, page["executions"])
    return ExitCode.DONE


@command_line.command("show")
@click.argument("execution_id", metavar="EXECUTION")
@_as_json
@click.pass_obj
def show_command(options: Options, execution_id: str, *, as_json: bool) -> int:
    """Show the state of an execution, its nodes, and its error or result."""
    with connected(options.url, options.key) as (client, _):
        state = client.execution(execution_id)
        if as_json:
            output.print_json(options.out, state)
        else:
            follower = Follower(client, options.err)
            runs = list(follower.node_runs(execution_id, payloads=False))
            output.print_execution(options.out, state, runs)
    return ExitCode.DONE


@command_line.command("logs")
@click.argument("execution_id", metavar="EXECUTION")
@click.option("--follow", "-f", is_flag=True, help="Print further changes until the end.")
@click.option("--payloads", is_flag=True, help="Print input and output of each node.")
@_as_json
@click.pass_obj
def logs_command(
    options: Options, execution_id: str, *, follow: bool, payloads: bool, as_json: bool
) -> int:
    """Print the node runs of an execution, one line each (JSON: one object each)."""
    with connected(options.url, options.key) as (client, _):
        follower = Follower(client, options.err)
        read = follower.changes if follow else follower.node_runs
        for run in read(execution_id, payloads=payloads or as_json):
            if as_json:
                print(json.dumps(run), flush=True)  # noqa: T201 - one object in a line
            else:
                output.print_node_run(options.out, run, payloads=payloads)
    return ExitCode.DONE


@command_line.command("cancel")
@click.argument("execution_id", metavar="EXECUTION")
@_as_json
@click.pass_obj
def cancel_command(options: Options, execution_id: str, *, as_json: bool) -> int:
    """Cancel an execution. The exit code is 1 if it has already ended."""
    with connected(options.url, options.key) as (client, _):
        response = client.cancel(execution_id)
    if as_json:
        output.print_json(options.out, response)
    else:
        options.out.print(output.printable(response["message"]), markup=False, soft_wrap=True)
    return ExitCode.DONE if response["success"] else ExitCode.FAILED


@command_line.command("validate")
@click.argument("target", metavar="FILE|ID")
@_as_json
@click.pass_obj
def validate_command(options: Options, target: str, *, as_json: bool) -> int:
    """Check a workflow file ('-': standard input) or a saved workflow, and run nothing."""
    body: dict[str, Any] = {"workflowId": target}
    if is_file(target):
        body = {"graph": read_workflow(target)[0]}
    with connected(options.url, options.key) as (client, _):
        report = client.validate(body)
    if as_json:
        output.print_json(options.out, report)
    else:
        output.print_report(options.out, report)
    return ExitCode.DONE if report["valid"] else ExitCode.FAILED
