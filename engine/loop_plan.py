"""The plan of a run whose graph may have loops: the plan of each part, put together.

Outside of loops it is one ``ScopePlan``; each body is another, run once for each item. Node runs
go by keys (``engine.loops``), and outcomes are one flat mapping over all of them. A node of a
body has, beside its runs, an outcome over all items, which counts for the progress.

What a plan remembers is how far each loop is: it could be worked out from the outcomes each time,
and is by ``ready``.
"""

from collections import ChainMap
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import cast

from engine.document import Node
from engine.graph import COMMENT, Graph
from engine.inputs import RunStart
from engine.json_values import MISSING, JsonValue, Missing
from engine.loop_items import ItemRun, LoopState, in_words, over_all
from engine.loops import ActiveLoops, Loops, in_item, items_of, outer, split_key
from engine.plan import SKIPPED, Outcome, Outcomes, Progress, ScopePlan, Step, describe_failure
from engine.status import NodeStatus

_NONE: ActiveLoops = {}


class Plan:
    """One run of a graph from a given start; see ``engine.plan.Plan``, whose questions it answers.

    ``begun`` are the loops whose handlers have ended and that are not decided.
    """

    def __init__(self, graph: Graph, start: RunStart) -> None:
        self.graph = graph
        self.loops = Loops(graph)
        self._start = start
        self.root = ScopePlan(self.loops.scope(None) if self.loops.bodies else graph, start)
        self.going_on: dict[str, LoopState] = {}
        self.seen: dict[str, int] = {}
        """See ``ScopePlan.after``; for the part outside of loops."""
        self.max_result_bytes: int | None = None
        """Maximum size of the result of a loop; ``None``: no limit."""

    @cached_property
    def bodies(self) -> dict[str, ScopePlan]:
        """The plan of each loop's body."""
        inside = RunStart(frozenset(), {}, self._start.values)
        return {loop: ScopePlan(self.loops.scope(loop), inside) for loop in self.loops.bodies}

    @cached_property
    def counted(self) -> frozenset[str]:
        """The nodes that count for the progress: those the run can reach, comments aside."""
        found = self.root.counted
        for loop in found & self.loops.bodies.keys():
            found |= self.loops.bodies[loop]
        return frozenset(i for i in found if self.graph.nodes[i].type != COMMENT)

    def ready(self, outcomes: Outcomes, begun: ActiveLoops = _NONE) -> Step:
        """What may start and what must be skipped now, worked out from nothing."""
        self.going_on.clear()
        self.seen.clear()
        if self.failure(outcomes) is not None:
            return Step()
        if not self.loops.bodies:
            return self.root.ready(outcomes)
        work = _StepBuilder(self, outcomes, begun)
        for key, outcome in outcomes.items():
            work.sum_up(key, outcome)
        work.take(self.root.ready(self._outside(outcomes)), "")
        for key in sorted(begun, key=lambda key: split_key(key)[1].count("[")):
            work.open(key, fresh=False)
        return work.step()

    def after(self, ended: Iterable[str], outcomes: Outcomes, begun: ActiveLoops = _NONE) -> Step:
        """What may start and what must be skipped since the node runs ``ended`` were decided, and
        since the loops of ``begun`` that are new there began.
        """
        if not self.loops.bodies:
            return self.root.after(ended, outcomes, self.seen)
        work = _StepBuilder(self, outcomes, begun)
        together: dict[tuple[str | None, str], list[str]] = {}
        for key in ended:
            node_id, places = split_key(key)
            loop = self.loops.around.get(node_id)
            together.setdefault((loop, places), []).append(node_id)
            work.sum_up(key, outcomes[key])
        for (_, places), node_ids in together.items():
            work.go_on(node_ids, places)
        for key in begun:
            if key not in self.going_on:
                work.open(key, fresh=True)
        return work.step()

    def node(self, key: str) -> Node:
        """The node of a run as its handler shall see it, with the key as its id."""
        node_id, places = self._split(key)
        node = self.root.node(node_id) if not places else self._body_of(node_id).node(node_id)
        return replace(node, id=key) if places else node

    def declared(self, key: str) -> Node:
        """The node of a run as the document has it, with the key as its id."""
        node_id, places = self._split(key)
        node = self.graph.nodes[node_id]
        return replace(node, id=key) if places else node

    def stops(self, key: str, outcome: Outcome) -> bool:
        """Whether this outcome ends the run; a failure inside a loop is the loop's to judge."""
        return key in self.root.graph.nodes and self.root.stops(key, outcome)

    def node_input(self, key: str, outcomes: Outcomes) -> JsonValue:
        """The input of a node run that is ready."""
        node_id, places = self._split(key)
        if not places:
            return self.root.node_input(node_id, outcomes)
        return self._body_of(node_id).node_input(node_id, self.item(node_id, places, outcomes))

    def input_size(self, key: str, outcomes: Outcomes, most: int) -> int | None:
        """Return about how large the input of a ready node run is; see ``ScopePlan.input_size``."""
        node_id, places = self._split(key)
        if not places:
            return self.root.input_size(node_id, outcomes, most)
        scope = self.item(node_id, places, outcomes)
        return self._body_of(node_id).input_size(node_id, scope, most)

    def is_loop(self, key: str) -> bool:
        """Whether a node run is that of a loop."""
        return self._split(key)[0] in self.loops.bodies

    def is_over_all(self, key: str) -> bool:
        """Whether an outcome is that of a node of a body over all items, and not of one run."""
        node_id, places = self._split(key)
        return places.count("[") < self.loops.depth(node_id)

    def is_closed(self, key: str, outcomes: Outcomes) -> bool:
        """Whether a loop around a node run is decided, or the run's item has failed."""
        node_id, places = self._split(key)
        while places:
            loop = self.loops.around[node_id]
            places, item = outer(places)
            around = f"{loop}{places}"
            going_on = self.going_on.get(around)
            if around in outcomes or (going_on is not None and item in going_on.failed):
                return True
            node_id = loop
        return False

    def loop_around(self, key: str) -> JsonValue | Missing:
        """What templates see as ``loop`` in a node run: its item, and the loop around that."""
        node_id, places = self._split(key)
        if not places:
            return MISSING
        loop = self.loops.around[node_id]
        around, index = outer(places)
        items = self.going_on[f"{loop}{around}"].loop.items
        place = {"index": index, "number": index + 1, "count": len(items)}
        found: dict[str, JsonValue] = {"item": items[index], **place}
        if around:
            found["outer"] = self.loop_around(f"{loop}{around}")
        return found

    def how_far(self, key: str) -> tuple[int, int] | None:
        """Of a loop that has begun: how many of its items have ended, and how many there are."""
        going_on = self.going_on.get(key)
        return None if going_on is None else (len(going_on.over), len(going_on.loop.items))

    def progress(self, outcomes: Outcomes) -> Progress:
        """How far the run is."""
        return Progress.of(self.counted, outcomes)

    def final_output(self, outcomes: Outcomes) -> JsonValue:
        """What the run comes to; what is inside of loops is in their outputs."""
        return self.root.final_output(outcomes)

    def failure(self, outcomes: Outcomes) -> str | None:
        """Why the run failed: the first outcome, in the order of ``outcomes``, that stops it."""
        if not self.loops.bodies:
            return self.root.failure(outcomes)
        return self.root.failure(self._outside(outcomes))

    def item(self, node_id: str, places: str, outcomes: Outcomes) -> ItemRun:
        """The outcomes around a node run of a loop that goes on."""
        loop = self.loops.around[node_id]
        around, item = outer(places)
        brought = self.going_on[f"{loop}{around}"].loop.items[item]
        return ItemRun(self.bodies[loop].graph, loop, places, outcomes, brought)

    def _outside(self, outcomes: Outcomes) -> Outcomes:
        outside = self.root.graph.nodes
        return {key: it for key, it in outcomes.items() if key in outside}

    def _split(self, key: str) -> tuple[str, str]:
        return split_key(key) if self.loops.bodies else (key, "")

    def _body_of(self, node_id: str) -> ScopePlan:
        return self.bodies[self.loops.around[node_id]]


class _StepBuilder:
    """One step of a nested plan while it is worked out."""

    def __init__(self, plan: Plan, outcomes: Outcomes, begun: ActiveLoops) -> None:
        self._plan = plan
        self._begun = begun
        self._new: dict[str, Outcome] = {}
        # Written to the first of them only.
        self._outcomes = ChainMap(self._new, cast("dict[str, Outcome]", outcomes))
        self._start: dict[str, None] = {}
        self._skip: dict[str, None] = {}
        self._decided: dict[str, Outcome] = {}
        self._closes = False
        self._stopped = False

    def step(self) -> Step:
        """What came of it."""
        if self._stopped:
            return Step(decided=self._decided, closes=self._closes)
        start = (
            key
            for key in self._start
            if not (self._closes and self._plan.is_closed(key, self._outcomes))
        )
        return Step(tuple(start), tuple(self._skip), self._decided, self._closes)

    def take(self, step: Step, places: str) -> None:
        """Takes what follows in one part of the graph."""
        for node_id in step.skip:
            self._set_skipped(f"{node_id}{places}")
            self.sum_up(f"{node_id}{places}", SKIPPED)
        for node_id in step.start:
            if f"{node_id}{places}" not in self._begun:
                self._start[f"{node_id}{places}"] = None

    def go_on(self, node_ids: list[str], places: str) -> None:
        """Works out what follows from nodes of one part that were decided."""
        if not places:
            if any(self._plan.root.stops(i, self._outcomes[i]) for i in node_ids):
                self._stopped = True
            else:
                follows = self._plan.root.after(node_ids, self._outcomes, self._plan.seen)
                self.take(follows, "")
            return
        loop = self._plan.loops.around[node_ids[0]]
        around, item = outer(places)
        key = f"{loop}{around}"
        state = self._plan.going_on.get(key)
        if state is None or item in state.over:
            return
        body, scope = self._plan.bodies[loop], self._plan.item(node_ids[0], places, self._outcomes)
        stopping = [i for i in node_ids if body.stops(i, scope[i])]
        if stopping:
            reason = describe_failure(body.graph.nodes[stopping[0]], scope[stopping[0]].error)
            state.failed[item] = reason
            self._closes = True
        else:
            self.take(body.after(node_ids, scope), places)
        if stopping or scope.is_done:
            state.end(item)
            self._begin_items(key, state)

    def open(self, key: str, *, fresh: bool) -> None:
        """A loop has begun, now or before the process was here."""
        node_id, places = split_key(key)
        if node_id not in self._plan.bodies or key in self._outcomes:
            return
        if self._plan.is_closed(key, self._outcomes):
            self._closes = True
            return
        state = self._plan.going_on[key] = LoopState(self._begun[key])
        body = self._plan.bodies[node_id]
        for item, brought in enumerate(() if fresh else state.loop.items):
            inside = in_item(places, item)
            scope = ItemRun(body.graph, node_id, inside, self._outcomes, brought)
            if reason := body.failure(scope):
                state.failed[item] = reason
                state.over.add(item)
                self._closes = True
        self._begin_items(key, state)

    def _begin_items(self, key: str, state: LoopState) -> None:
        loop, places = split_key(key)
        body, items = self._plan.bodies[loop], state.loop.items
        if state.failed and not state.loop.goes_on:
            item, reason = next(iter(state.failed.items()))
            self._decide(key, Outcome(NodeStatus.ERROR, error=f"item {item}: {reason}"))
            return
        while (item := state.begin_next()) is not None:
            inside = in_item(places, item)
            scope = ItemRun(body.graph, loop, inside, self._outcomes, items[item])
            self.take(body.ready(scope), inside)
            if scope.is_done:
                state.end(item)
        if len(state.over) == len(items):
            self._decide(key, self._result(key, state))

    def _result(self, key: str, state: LoopState) -> Outcome:
        """How a loop all of whose items have ended ends: with what each came to, in their order."""
        loop, places = split_key(key)
        body, results, size = self._plan.bodies[loop], list[JsonValue](), 0
        for item, brought in enumerate(state.loop.items):
            if (reason := state.failed.get(item)) is not None:
                results.append({"error": {"nodeId": loop, "item": item, "message": reason}})
                continue
            scope = ItemRun(body.graph, loop, in_item(places, item), self._outcomes, brought)
            output, its_size = body.own_output(scope)
            results.append(output)
            size += its_size
        most = self._plan.max_result_bytes
        if most is not None and size > most:
            reason = f"the results of the items are larger than {most} bytes"
            return Outcome(NodeStatus.ERROR, error=f"{reason} (MAX_NODE_RESULT_BYTES)")
        message = in_words(len(results))
        if state.failed:
            message += f", {len(state.failed)} of them failed"
        return Outcome(
            NodeStatus.COMPLETED,
            {
                "success": True,
                "message": message,
                "outputData": results,
                "itemCount": len(results),
                "failedItems": sorted(state.failed),
            },
            size=size,
        )

    def _decide(self, key: str, outcome: Outcome) -> None:
        self._new[key] = self._decided[key] = outcome
        self.sum_up(key, outcome)
        node_id, places = split_key(key)
        self.go_on([node_id], places)

    def sum_up(self, key: str, outcome: Outcome) -> None:
        """Where a loop was decided: decides the nodes of its body over all its items."""
        loop, places = split_key(key)
        body = self._plan.loops.bodies.get(loop)
        if body is None:
            return
        state = self._plan.going_on.pop(key, None)
        if outcome.status == NodeStatus.ERROR:
            self._closes = True
        missing = [i for i in self._plan.graph.nodes if i in body]
        missing = [i for i in missing if f"{i}{places}" not in self._outcomes]
        if not missing:
            return
        if state is None:  # decided before the process was here
            items = range(max(items_of(body, places, self._outcomes), default=-1) + 1)
        else:
            items = range(state.begun)
        for node_id in missing:
            runs = [f"{node_id}{in_item(places, item)}" for item in items]
            ended = {run: self._outcomes[run] for run in runs if run in self._outcomes}
            whole = over_all(ended, len(runs))
            if whole is SKIPPED:
                self._set_skipped(f"{node_id}{places}")
            else:
                self._new[f"{node_id}{places}"] = self._decided[f"{node_id}{places}"] = whole

    def _set_skipped(self, key: str) -> None:
        self._new[key] = SKIPPED
        self._skip[key] = None
