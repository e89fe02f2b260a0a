"""Scope plan: decides which nodes of one scope start and which are skipped.

A scope is the part of a graph outside of all loops, or the body of one loop for one item. Every
decision is a function of the graph, the start and the outcomes so far, so that an execution that
continues after a crash plans exactly as one that was never interrupted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from engine.data_flow import error_mode, final_output, is_live
from engine.document import Connection, Node
from engine.graph import COMMENT, Graph
from engine.inputs import INPUT_VALUE, RunStart
from engine.json_values import JsonValue
from engine.node_inputs import NodeInputs
from engine.options import OnError
from engine.outcome import Outcome, ScopeOutcomes, ScopeStep, describe_failure
from engine.status import NodeStatus


@dataclass(frozen=True)
class ScopePlan:
    """One run of a graph from a given start."""

    graph: Graph
    start: RunStart

    @cached_property
    def inputs(self) -> NodeInputs:
        """The inputs of the nodes."""
        return NodeInputs(self.graph, self.start)

    @cached_property
    def counted(self) -> frozenset[str]:
        """The nodes that count for the progress: those that the run can reach, without comments."""
        starting = [node.id for node in self.graph.roots if not self._is_unfired(node)]
        reached = self.graph.reachable(starting)
        return frozenset(i for i in reached if self.graph.nodes[i].type != COMMENT)

    def ready(self, outcomes: ScopeOutcomes) -> ScopeStep:
        """Return the nodes to start and to skip now, computed from scratch.

        Call it once, when a run starts and when it continues after a crash. Nodes in flight are not
        in ``outcomes``, so they start again. The step is empty if an outcome stops the run.
        """
        if self.failure(outcomes) is not None:
            return ScopeStep()
        return self._advance(self.graph.nodes, outcomes, None)

    def after(
        self, ended: Iterable[str], outcomes: ScopeOutcomes, checked: dict[str, int] | None = None
    ) -> ScopeStep:
        """Return the nodes to start and to skip since the nodes ``ended`` were decided.

        The step is empty if one of ``ended`` stops the run; no later call is allowed then.
        ``outcomes`` contain those of ``ended``; all others were passed to an earlier call.
        ``checked`` is the number of decided connections into each node, from earlier calls. Without
        it each call starts at the first connection, which is quadratic for thousands of them.
        """
        ended = list(ended)
        if any(self.stops(node_id, outcomes[node_id]) for node_id in ended):
            return ScopeStep()
        children = dict.fromkeys(c.target for i in ended for c in self.graph.outgoing[i])
        return self._advance(children, outcomes, checked)

    def _advance(
        self, candidates: Iterable[str], outcomes: ScopeOutcomes, checked: dict[str, int] | None
    ) -> ScopeStep:
        checked = {} if checked is None else checked
        start: dict[str, None] = {}
        skip: dict[str, None] = {}
        todo = list(candidates)[::-1]
        while todo:
            node_id = todo.pop()
            if node_id in outcomes or node_id in skip or node_id in start:
                continue
            starts = self._starts(node_id, outcomes, skip, checked)
            if starts is True:
                start[node_id] = None
            elif starts is False:
                skip[node_id] = None
                todo.extend(c.target for c in reversed(self.graph.outgoing[node_id]))
        return ScopeStep(tuple(start), tuple(skip))

    def _starts(
        self,
        node_id: str,
        outcomes: ScopeOutcomes,
        skip: Mapping[str, None],
        checked: dict[str, int],
    ) -> bool | None:
        """Return ``True`` to start, ``False`` to skip, ``None`` if it is not decided yet."""
        incoming = self.graph.incoming[node_id]
        if not incoming:
            return not self._is_unfired(self.graph.nodes[node_id])
        for position in range(checked.get(node_id, 0), len(incoming)):
            source = incoming[position].source
            if source not in outcomes and source not in skip:
                checked[node_id] = position
                return None
        return any(
            self.is_live(connection, outcomes[connection.source])
            for connection in incoming
            if connection.source not in skip
        )

    def _is_unfired(self, node: Node) -> bool:
        return self.graph.is_entry(node) and node.id not in self.start.fired

    def node(self, node_id: str) -> Node:
        """Return the node as its handler gets it: a value of the request replaces its own."""
        node = self.graph.nodes[node_id]
        if node_id not in self.start.values:
            return node
        return replace(node, config={**node.config, INPUT_VALUE: self.start.values[node_id]})

    def stops(self, node_id: str, outcome: Outcome) -> bool:
        """Return whether no node starts after this outcome."""
        is_error = outcome.status == NodeStatus.ERROR
        return is_error and error_mode(self.graph.nodes[node_id]) == OnError.STOP

    def is_live(self, connection: Connection, outcome: Outcome) -> bool:
        """Return whether ``connection``, whose source ended with ``outcome``, passes data on."""
        return is_live(self.graph, connection, outcome)

    def node_input(self, node_id: str, outcomes: ScopeOutcomes) -> JsonValue:
        """Return the input of a node that is ready."""
        return self.inputs.value(node_id, outcomes)

    def final_output(self, outcomes: ScopeOutcomes) -> JsonValue:
        """Return the result of the run."""
        return final_output(self.graph, outcomes)

    def failure(self, outcomes: ScopeOutcomes) -> str | None:
        """Return why the run failed: the reason of the first outcome that stops it."""
        for node_id, outcome in outcomes.items():
            if self.stops(node_id, outcome):
                return describe_failure(self.graph.nodes[node_id], outcome.error)
        return None
