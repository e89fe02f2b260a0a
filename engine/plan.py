"""Plan: decides which node runs of an execution start and which are skipped.

A plan has no state and performs no actions. It combines the plans of the scopes of a graph. A node
of a loop's body has, in addition to its runs, an aggregate outcome over all items, which counts for
the progress.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from engine.document import Node
from engine.graph import COMMENT, Graph
from engine.inputs import RunStart
from engine.json_values import JsonValue
from engine.loop_states import LoopStates
from engine.loops import ActiveLoops
from engine.node_run_key import ItemPath, NodeRunKey
from engine.outcome import Outcome, Outcomes, Progress, Step, Tally, describe_failure
from engine.scopes import Scopes
from engine.status import NodeStatus
from engine.step_builder import StepBuilder

_NONE: ActiveLoops = {}


@dataclass(frozen=True)
class Plan:
    """One run of a graph from a given start."""

    graph: Graph
    start: RunStart
    max_result_bytes: int | None = None
    """Maximum size of the result of a loop, in bytes; ``None``: no limit."""

    @cached_property
    def scopes(self) -> Scopes:
        """The scopes of the graph."""
        return Scopes(self.graph, self.start)

    @cached_property
    def counted(self) -> frozenset[str]:
        """The nodes that count for the progress: those that the run can reach, without comments."""
        found, bodies = self.scopes.root.counted, self.scopes.loops.bodies
        for loop in found & bodies.keys():
            found |= bodies[loop]
        return frozenset(i for i in found if self.graph.nodes[i].type != COMMENT)

    def new_states(self) -> LoopStates:
        """Return the loop states of a run that ``ready`` was not called for."""
        return LoopStates(self.scopes.loops)

    def ready(self, outcomes: Outcomes, states: LoopStates, active: ActiveLoops = _NONE) -> Step:
        """Return the node runs to start and to skip now, computed from scratch.

        ``states`` is filled with the states of the ``active`` loops: those whose handlers have
        ended and that are not decided.
        """
        states.clear()
        if self.failure(outcomes) is not None:
            return Step()
        builder = StepBuilder(self.scopes, states, outcomes, active, self.max_result_bytes)
        for key, outcome in outcomes.items():
            builder.aggregate_body(key, outcome)
        builder.apply(self.scopes.root.ready(self.scopes.root_view(outcomes)), ())
        for key in sorted(active, key=lambda key: len(key.path)):
            builder.start_loop(key, is_new=False)
        return builder.step()

    def after(
        self,
        ended: Iterable[NodeRunKey],
        outcomes: Outcomes,
        states: LoopStates,
        active: ActiveLoops = _NONE,
    ) -> Step:
        """Return the node runs to start and to skip since the node runs ``ended`` were decided.

        ``outcomes`` contain those of ``ended``. ``states`` are those after the last call, and are
        updated. Loops that were not in ``active`` at the last call start now.
        """
        builder = StepBuilder(self.scopes, states, outcomes, active, self.max_result_bytes)
        scopes: dict[tuple[str | None, ItemPath], list[NodeRunKey]] = {}
        for key in ended:
            loop = self.scopes.loops.enclosing.get(key.node_id)
            scopes.setdefault((loop, key.path if loop else ()), []).append(key)
            builder.aggregate_body(key, outcomes[key])
        for (_, path), keys in scopes.items():
            builder.advance(keys, path)
        for key in active:
            if key not in states.active:
                builder.start_loop(key, is_new=True)
        return builder.step()

    def node(self, key: NodeRunKey) -> Node:
        """Return the node of a run as its handler gets it; its id is the key."""
        node_id = self.scopes.root_ids.get(key)
        if node_id is not None:
            return self.scopes.root.node(node_id)
        body = self.scopes.bodies[self.scopes.loops.enclosing[key.node_id]]
        return replace(body.node(key.node_id), id=str(key))

    def original_node(self, key: NodeRunKey) -> Node:
        """Return the node of a run as it is in the document; its id is the key."""
        node_id = self.scopes.root_ids.get(key)
        if node_id is not None:
            return self.graph.nodes[node_id]
        return replace(self.graph.nodes[key.node_id], id=str(key))

    def stops(self, key: NodeRunKey, outcome: Outcome) -> bool:
        """Return whether no node starts after this outcome.

        A failure inside a loop is handled by the loop.
        """
        if outcome.status != NodeStatus.ERROR:
            return False
        node_id = self.scopes.root_ids.get(key)
        return node_id is not None and self.scopes.root.stops(node_id, outcome)

    def failure(self, outcomes: Outcomes) -> str | None:
        """Return why the run failed: the reason of the first outcome that stops it."""
        key = self.failed_node(outcomes)
        return (
            None if key is None else describe_failure(self.original_node(key), outcomes[key].error)
        )

    def failed_node(self, outcomes: Outcomes) -> NodeRunKey | None:
        """Return the node because of which the run failed."""
        return next((key for key, outcome in outcomes.items() if self.stops(key, outcome)), None)

    def node_input(self, key: NodeRunKey, outcomes: Outcomes, states: LoopStates) -> JsonValue:
        """Return the input of a node run that is ready."""
        scope, node_id, view = self.scopes.scope_of(key, outcomes, states)
        return scope.inputs.value(node_id, view)

    def input_size(
        self, key: NodeRunKey, outcomes: Outcomes, states: LoopStates, max_size: int
    ) -> int | None:
        """Return the approximate size of an input; see ``NodeInputs.size``."""
        scope, node_id, view = self.scopes.scope_of(key, outcomes, states)
        return scope.inputs.size(node_id, view, max_size)

    def is_loop(self, key: NodeRunKey) -> bool:
        """Return whether a node run is that of a loop."""
        return key.node_id in self.scopes.loops.bodies

    def is_aggregate(self, key: NodeRunKey) -> bool:
        """Return whether an outcome is that of a node of a body over all items."""
        return len(key.path) < len(self.scopes.loops.around(key.node_id)) - 1

    def progress(self, outcomes: Outcomes) -> Progress:
        """Return the progress of the run."""
        return Tally(self.counted, outcomes).progress()

    def final_output(self, outcomes: Outcomes) -> JsonValue:
        """Return the result of the run."""
        return self.scopes.root.final_output(self.scopes.root_view(outcomes))
