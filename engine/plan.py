"""The plan of a run: what is ready, what is dead, what it all comes to. It decides and never acts.

Every answer is a function of the graph, the start and the outcomes so far, so that a run that goes
on after a crash plans exactly as the one that never stopped.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from engine.document import Connection, Node
from engine.graph import COMMENT, DISABLED, Graph
from engine.inputs import INPUT_VALUE, RunStart
from engine.json_encoding import size_within
from engine.json_values import JsonValue, is_list, is_object
from engine.options import NodeOptions, OnError
from engine.ports import ERROR
from engine.status import NodeStatus

OUTPUT = "output"
PORT_DATA = "portData"
"""Key of a handler's result: an object with the data of each output port that is live; ``true`` if
``outputData`` is that object."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one node run ended."""

    status: NodeStatus
    """``completed``, ``error`` or ``skipped``."""
    result: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """What the handler returned if ``completed``; of an ``error`` the fields of its data, such as
    ``statusCode``."""
    error: str | None = None
    """Why it failed; set if and only if ``error``."""
    size: int = field(default=0, compare=False)
    """Size of its ``outputData`` as JSON, in bytes; 0 if it has none, or if nobody counted it."""


ERROR_DETAILS = ("statusCode",)
"""Fields of an error's data besides ``nodeId`` and ``message``."""

SKIPPED = Outcome(NodeStatus.SKIPPED)

Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from what has happened: nodes to start, and nodes that never will."""

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    decided: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    """What was not run by a handler and is decided now: loops, and the nodes of their bodies over
    all items."""
    closes: bool = False
    """Whether loops or items of loops have failed: what waits inside them waits for nothing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. Counts the nodes that it can reach, comments aside."""

    total: int
    completed: int
    failed: int
    skipped: int
    stored_bytes: int | None = field(default=None, compare=False)
    """Size of the data that the execution has stored; ``None`` if it was not counted."""

    @classmethod
    def of(cls, counted: frozenset[str], outcomes: "Outcomes") -> "Progress":
        """What the nodes that count have come to."""
        found = Counter(outcomes[node_id].status for node_id in counted & outcomes.keys())
        done = (NodeStatus.COMPLETED, NodeStatus.ERROR, NodeStatus.SKIPPED)
        return cls(len(counted), *(found[status] for status in done))

    def percentage(self, *, finished: bool) -> int:
        """Whole percent done; 100 if and only if the execution is ``completed``."""
        if finished:
            return 100
        done = self.completed + self.failed + self.skipped
        return min(99, 100 * done // self.total) if self.total else 0


@dataclass(frozen=True)
class ScopePlan:
    """One run of a graph from a given start."""

    graph: Graph
    start: RunStart

    @cached_property
    def counted(self) -> frozenset[str]:
        """The nodes that count for the progress: those the run can reach, comments aside."""
        begins = [node.id for node in self.graph.roots if not self._unfired(node)]
        reached = self.graph.reachable(begins)
        return frozenset(i for i in reached if self.graph.nodes[i].type != COMMENT)

    def ready(self, outcomes: Outcomes) -> Step:
        """What may start and what must be skipped now, worked out from nothing.

        A run that begins and a run that goes on after a crash both call this once; nodes in flight
        are not in ``outcomes`` and so start again. Nothing follows when an outcome stops the run.
        """
        if self.failure(outcomes) is not None:
            return Step()
        return self._advance(self.graph.nodes, outcomes, None)

    def after(
        self, ended: Iterable[str], outcomes: Outcomes, seen: dict[str, int] | None = None
    ) -> Step:
        """What may start and what must be skipped since the nodes ``ended`` were decided.

        ``outcomes`` must hold them already, and of the others only those that an earlier call was
        told of. Looks only downstream, so a step costs what it touches. Nothing follows when one of
        ``ended`` stops the run; from then on there is nothing to ask.

        Args:
            ended: the nodes that were decided.
            outcomes: the outcomes of the run so far.
            seen: how many connections into a node were found decided by earlier calls with the same
                ``outcomes``; without it, each call counts from the first one, which is quadratic
                for a node with thousands of connections.
        """
        ended = list(ended)
        if any(self.stops(node_id, outcomes[node_id]) for node_id in ended):
            return Step()
        children = dict.fromkeys(c.target for i in ended for c in self.graph.outgoing[i])
        return self._advance(children, outcomes, seen)

    def _advance(
        self, candidates: Iterable[str], outcomes: Outcomes, seen: dict[str, int] | None
    ) -> Step:
        seen = {} if seen is None else seen
        start: dict[str, None] = {}
        skip: dict[str, None] = {}
        todo = list(candidates)[::-1]
        while todo:
            node_id = todo.pop()
            if node_id in outcomes or node_id in skip or node_id in start:
                continue
            verdict = self._verdict(node_id, outcomes, skip, seen)
            if verdict is True:
                start[node_id] = None
            elif verdict is False:
                skip[node_id] = None
                todo.extend(c.target for c in reversed(self.graph.outgoing[node_id]))
        return Step(tuple(start), tuple(skip))

    def _verdict(
        self, node_id: str, outcomes: Outcomes, skip: Mapping[str, None], seen: dict[str, int]
    ) -> bool | None:
        """True: may start; False: must be skipped; None: not decided yet."""
        incoming = self.graph.incoming[node_id]
        if not incoming:
            return not self._unfired(self.graph.nodes[node_id])
        for position in range(seen.get(node_id, 0), len(incoming)):
            source = incoming[position].source
            if source not in outcomes and source not in skip:
                seen[node_id] = position
                return None
        return any(
            self.is_live(connection, outcomes[connection.source])
            for connection in incoming
            if connection.source not in skip
        )

    def _unfired(self, node: Node) -> bool:
        return self.graph.is_entry(node) and node.id not in self.start.fired

    def node(self, node_id: str) -> Node:
        """The node as its handler shall see it: a value from the request stands in its config."""
        node = self.graph.nodes[node_id]
        if node_id not in self.start.values:
            return node
        return replace(node, config={**node.config, INPUT_VALUE: self.start.values[node_id]})

    def on_error(self, node_id: str) -> OnError:
        """What the node's failure means for the run."""
        options = NodeOptions.model_validate(self.graph.nodes[node_id].config)
        return options.on_error or OnError.STOP

    def stops(self, node_id: str, outcome: Outcome) -> bool:
        """Whether this outcome ends the run: nothing new may start after it."""
        return outcome.status == NodeStatus.ERROR and self.on_error(node_id) == OnError.STOP

    def is_live(self, connection: Connection, outcome: Outcome) -> bool:
        """Whether data flows along ``connection``, whose source ended with ``outcome``."""
        if outcome.status == NodeStatus.SKIPPED:
            return False
        if outcome.status == NodeStatus.ERROR:
            mode = self.on_error(connection.source)
            return mode == OnError.CONTINUE or (
                mode == OnError.BRANCH and connection.output_type == ERROR
            )
        port = connection.output_type
        if port == ERROR or (port is not None and self._is_disabled(connection.source)):
            return False
        branches = branches_of(outcome.result)
        return port is None or branches is None or port in branches

    def _is_disabled(self, node_id: str) -> bool:
        return self.graph.nodes[node_id].type == DISABLED

    def carried(self, connection: Connection, outcome: Outcome) -> JsonValue:
        """What a live ``connection`` carries."""
        if outcome.status == NodeStatus.COMPLETED and connection.output_type is not None:
            branches = branches_of(outcome.result) or {}
            if connection.output_type in branches:
                return branches[connection.output_type]
        return _output(connection.source, outcome)

    def node_input(self, node_id: str, outcomes: Outcomes) -> JsonValue:
        """The input of a node that is ready."""
        if node_id in self.start.payloads:
            return self.start.payloads[node_id]
        live = [
            (connection, self.carried(connection, outcome))
            for connection in self._distinct(node_id, outcomes)
            if self.is_live(connection, outcome := outcomes[connection.source])
        ]
        if not live:
            return None
        if len(self.graph.inputs(node_id)) > 1:
            return self._by_port(node_id, live)
        return _merged(live)

    def _distinct(self, node_id: str, outcomes: Outcomes) -> Iterable[Connection]:
        """The connections into a node, without those that bring the same data to the same port.

        Names of outputs that neither the type nor the result tells apart are one port.
        """
        seen: set[tuple[str, str | None, str | None]] = set()
        for connection in self.graph.incoming[node_id]:
            port = connection.output_type
            if port != ERROR and not self.graph.has_several_outputs(connection.source):
                port = port if branches_of(outcomes[connection.source].result) else None
            ends = (connection.source, port, connection.input_port)
            if ends not in seen:
                seen.add(ends)
                yield connection

    def input_size(self, node_id: str, outcomes: Outcomes, most: int) -> int | None:
        """Return about how large the input of a ready node is, or ``None`` if more than ``most``.

        Reads at most ``most`` characters.
        """
        if node_id in self.start.payloads:
            return size_within(self.start.payloads[node_id], most)
        left = most
        for connection in self._distinct(node_id, outcomes):
            outcome = outcomes[connection.source]
            if self.is_live(connection, outcome):
                size = size_within(self.carried(connection, outcome), left)
                if size is None:
                    return None
                left -= size
        return most - left

    def _by_port(
        self, node_id: str, live: list[tuple[Connection, JsonValue]]
    ) -> dict[str, JsonValue]:
        """The input of a node with several ports, such as ``{"A": …, "B": …}`` of a join.

        The data of several connections into one port is put into one list.
        """
        ports = self._ports(node_id)
        gathered: dict[str, list[JsonValue]] = {}
        for connection, value in live:
            gathered.setdefault(ports[connection.pointer], []).append(value)
        return {
            port: values[0]
            if len(values) == 1
            else [row for value in values for row in _rows(value)]
            for port, values in sorted(gathered.items())
        }

    def _ports(self, node_id: str) -> dict[str, str]:
        """Connection pointer → port: as named; the others on the free ones, then the last."""
        incoming = self.graph.incoming[node_id]
        declared = [port.name for port in self.graph.inputs(node_id)]
        named = {c.input_port for c in incoming}
        free = [port for port in declared if port not in named]
        ports: dict[str, str] = {}
        for connection in incoming:
            port = connection.input_port
            ports[connection.pointer] = port or (free.pop(0) if free else declared[-1])
        return ports

    def progress(self, outcomes: Outcomes) -> Progress:
        """How far the run is."""
        return Progress.of(self.counted, outcomes)

    def final_output(self, outcomes: Outcomes) -> JsonValue:
        """One output node reached: its data; several: an object by node id; none: the leaves'."""
        reached = self._reached(outcomes)
        if len(reached) == 1:
            return next(iter(reached.values()))
        return reached or self._leaves(outcomes)

    def own_output(self, outcomes: Outcomes) -> tuple[JsonValue, int]:
        """As ``final_output``, of a part of a graph: a single leaf is its data, not an object.

        Returns:
            The output, and its size as far as the outcomes have one.
        """
        ends = self._reached(outcomes) or self._leaves(outcomes)
        size = sum(outcomes[node_id].size for node_id in ends)
        return (next(iter(ends.values())) if len(ends) == 1 else ends), size

    def _reached(self, outcomes: Outcomes) -> dict[str, JsonValue]:
        """What the output nodes that completed have, by node id."""
        return {
            node_id: outcome.result.get("outputData")
            for node_id, node in self.graph.nodes.items()
            if node.type == OUTPUT
            and (outcome := outcomes.get(node_id))
            and outcome.status == NodeStatus.COMPLETED
        }

    def _leaves(self, outcomes: Outcomes) -> dict[str, JsonValue]:
        """What the run ended in, by node id; a failure that was tolerated is its error object."""
        leaves: dict[str, JsonValue] = {}
        for node_id in self.graph.nodes:
            outcome = outcomes.get(node_id, SKIPPED)
            if outcome.status == NodeStatus.SKIPPED:
                continue
            if any(
                self.is_live(connection, outcome) for connection in self.graph.outgoing[node_id]
            ):
                continue
            leaves[node_id] = _output(node_id, outcome)
        return leaves

    def failure(self, outcomes: Outcomes) -> str | None:
        """Why the run failed: the first outcome, in the order of ``outcomes``, that stops it."""
        for node_id, outcome in outcomes.items():
            if self.stops(node_id, outcome):
                return describe_failure(self.graph.nodes[node_id], outcome.error)
        return None


def branches_of(result: Mapping[str, JsonValue]) -> Mapping[str, JsonValue] | None:
    """Return the data of each live output port of a result; ``None`` if all ports are alike."""
    ports = result.get(PORT_DATA)
    if ports is True:
        ports = result.get("outputData")
    if is_object(ports):
        return ports
    sides = {"true": result.get("trueRecords"), "false": result.get("falseRecords")}
    rows = {side: records for side, records in sides.items() if is_list(records)}
    went = result.get("conditionResult")
    if rows:
        return {side: records for side, records in rows.items() if records}
    if isinstance(went, bool):
        return {"true" if went else "false": result.get("outputData")}
    return None


def _merged(live: list[tuple[Connection, JsonValue]]) -> JsonValue:
    """The input of an ordinary node: one value as it is, several merged in connection order."""
    values = [value for _, value in live]
    if len(values) == 1:
        return values[0]
    if all(isinstance(value, dict) for value in values):
        return {key: inner for value in values for key, inner in value.items()}
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return {connection.source: value for connection, value in live}


def _rows(value: JsonValue) -> list[JsonValue]:
    return value if is_list(value) else [value]


def _output(node_id: str, outcome: Outcome) -> JsonValue:
    if outcome.status == NodeStatus.ERROR:
        return {"error": {"nodeId": node_id, "message": outcome.error, **outcome.result}}
    return outcome.result.get("outputData")


def describe_failure(node: Node, reason: str | None) -> str:
    """The text of an execution's ``error``: the node, by label and id, and the reason."""
    name = f"'{node.label}' ({node.id})" if node.label != node.id else f"'{node.id}'"
    return f"Node {name} failed: {reason}"
