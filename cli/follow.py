"""Follower: waits for the changes of an execution and shows them until it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from rich.console import Console

from cli.client import ServiceClient
from cli.errors import CommandError, ConnectionLostError, ExitCode
from cli.progress_view import Line, View, printable, watching
from engine.json_values import is_list, is_object

ACTIVE = frozenset({"pending", "running", "waiting"})
"""Statuses of an execution that has not ended; an unknown status counts as ended."""
RECONNECT_TIMEOUT_SECONDS = 60.0
"""Time without a response after which the command gives up, in seconds."""
RECONNECT_INTERVAL_SECONDS = 0.5

T = TypeVar("T")


class Follower:
    """Follows executions of one service, also while the service restarts."""

    def __init__(self, client: ServiceClient, console: Console) -> None:
        self._client = client
        self._console = console

    def follow(
        self, execution_id: str, document: object = None, *, quiet: bool = False
    ) -> dict[str, Any]:
        """Show an execution until it ends, and return its last state.

        Args:
            execution_id: the execution.
            document: its workflow document, if known: nodes that have not started are shown too.
            quiet: show nothing.

        Raises:
            CommandError: If the service stays unavailable, or does not know the execution.
        """
        lines = _lines_of(document)
        with nullcontext(None) if quiet else watching(self._console, lines) as view:
            return self._follow(execution_id, lines, view)

    def _follow(
        self, execution_id: str, lines: dict[str, Line], view: View | None
    ) -> dict[str, Any]:
        after_seq = 0
        state: dict[str, Any] = {}
        for state in self._states(execution_id):
            if view is None:
                continue
            for run in self.node_runs(execution_id, after_seq, payloads=False):
                after_seq = max(after_seq, int(run["seq"] or 0))
                node_id = str(run["nodeId"]).partition("[")[0]
                label = str(run.get("nodeLabel") or node_id)
                lines.setdefault(node_id, Line(label)).update(run)
            view.show(str(state["status"]), int(state["progress"]["percentage"]))
        return state

    def changes(self, execution_id: str, *, payloads: bool) -> Iterator[dict[str, Any]]:
        """Yield every change of a node run as its current row, until the execution ends."""
        after_seq = 0
        for _ in self._states(execution_id):
            for run in self.node_runs(execution_id, after_seq, payloads=payloads):
                after_seq = max(after_seq, int(run["seq"] or 0))
                yield run

    def _states(self, execution_id: str) -> Iterator[dict[str, Any]]:
        """Yield the state of an execution now and after each change, the last one at its end."""
        state = self._repeated(partial(self._client.execution, execution_id))
        yield state
        while state["status"] in ACTIVE:
            call = partial(self._client.changed_execution, execution_id, int(state["seq"]))
            state = self._repeated(call)
            yield state

    def node_runs(
        self, execution_id: str, after_seq: int = 0, *, payloads: bool
    ) -> Iterator[dict[str, Any]]:
        """Yield the node runs that changed after ``after_seq``, from all pages."""
        while True:
            read = partial(self._client.node_runs, execution_id, after_seq, payloads=payloads)
            page = self._repeated(read)
            yield from page["logs"]
            after_seq = int(page["nextSeq"])
            if not page["hasMore"]:
                return

    def _repeated(self, call: Callable[[], T]) -> T:
        """Return the result of ``call``, and repeat it while the service does not respond."""
        lost_at: float | None = None
        while True:
            try:
                return call()
            except ConnectionLostError as error:
                now = time.monotonic()
                if lost_at is None:
                    lost_at = now
                    self._console.print("The connection is lost; trying again.", style="yellow")
                elif now - lost_at > RECONNECT_TIMEOUT_SECONDS:
                    raise CommandError(str(error), ExitCode.UNAVAILABLE) from None
                time.sleep(RECONNECT_INTERVAL_SECONDS)


def _lines_of(document: object) -> dict[str, Line]:
    """Return a line for each node of a document in one of the accepted formats."""
    lines: dict[str, Line] = {}
    nodes = document.get("nodes") if is_object(document) else None
    for node in filter(is_object, nodes) if is_list(nodes) else ():
        node_id, data = node.get("id"), node.get("data")
        if isinstance(node_id, str) and node.get("type") not in {"comment", "group"}:
            label = node.get("label") or (data.get("label") if is_object(data) else None)
            lines[node_id] = Line(printable(label or node_id))
    return lines
