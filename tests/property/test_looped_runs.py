"""Properties of loops, for every body and every order in which node runs end.

The oracle of ``simulated_runs`` predicts the run of the body for each item alone, with the loop as
a node whose output is the item. The loop must have the same results for any number of items, any
concurrency, and after restarts.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.document import parse_document
from engine.loops import FOR_EACH, ITEM, Loop
from engine.node_run_key import NodeRunKey
from engine.outcome import SKIPPED, Outcome
from engine.status import NodeStatus
from tasks.registry import DEFAULT
from tests.support.documents import validate
from tests.support.generated import examples
from tests.support.plans import PlannedRun, TextStep, by_key
from tests.support.simulated_runs import (
    TYPES,
    Case,
    DrawnNode,
    Way,
    cases,
    expected_final_output,
    expected_input,
    fates,
)

EACH = "each"
thorough = examples(150)
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class LoopCase:
    """A body, how its nodes end for each item, and how many items may be under way."""

    items: list[Case]
    concurrency: int

    @property
    def body(self) -> Case:
        return self.items[0]

    def plan(self) -> PlannedRun:
        """A trigger, the loop with its body, and a node behind the loop."""
        loop = [node for node_id, node in self.body.nodes.items() if node_id != EACH]
        nodes = [{"id": "start", "type": "trigger"}, {"id": EACH, "type": FOR_EACH}]
        nodes += [
            {"id": n.id, "type": n.type, "config": {"onError": n.on_error} if n.on_error else {}}
            for n in loop
        ]
        nodes.append({"id": "end", "type": "output"})
        ways = [("start", EACH, None, None), (EACH, "end", "done", None)]
        for way in self.body.ways:
            kind = ITEM if way.source == EACH else way.output_type
            ways.append((way.source, way.target, kind, way.port))
        connections = [
            {"fromNodeId": a, "toNodeId": b, "outputType": kind, "inputPort": port}
            for a, b, kind, port in ways
        ]
        document = parse_document({"nodes": nodes, "connections": connections})
        graph = validate(document, (*TYPES, FOR_EACH), lambda _: [], DEFAULT.ports)
        return PlannedRun(graph)


@st.composite
def loop_cases(draw: st.DrawFn) -> LoopCase:
    """Bodies in which no failure stops an item, for none to four items."""
    drawn = draw(cases(stopping=False))
    nodes = {i: replace(n, type=_inside(n.type)) for i, n in drawn.nodes.items()}
    roots = [i for i in nodes if not drawn.into(i)]
    ways = [*(Way(EACH, root, None, None) for root in roots), *drawn.ways]
    each = DrawnNode(EACH, "plain", None, "completes", "object")
    items: list[Case] = []
    for _ in range(draw(st.integers(1, 4))):
        ends = {
            i: replace(n, ends="fails") if draw(st.integers(0, 5)) == 0 else n
            for i, n in nodes.items()
        }
        items.append(Case({EACH: each, **ends}, ways, None, []))
    return LoopCase(items, draw(st.integers(1, 3)))


def _inside(kind: str) -> str:
    """Entry nodes and comments are as others where something leads into them."""
    return kind if kind in ("condition", "join", "output", "approval") else "plain"


@dataclass
class LoopDriver:
    """Executes a loop like the executor, in the order that ``rng`` selects."""

    case: LoopCase
    rng: random.Random
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    begun: dict[str, Loop] = field(default_factory=dict[str, Loop])
    in_flight: list[str] = field(default_factory=list[str])
    most_at_once: int = 0

    def drive(self, *, kills: int = 0) -> "LoopDriver":
        """Run to the end; ``kills`` times, all node runs in flight are lost and started again."""
        self.plan = self.case.plan()
        self._take(self.plan.ready(self.outcomes, self.begun))
        while self.in_flight:
            if kills and self.rng.random() < 0.3:
                kills -= 1
                self.in_flight.clear()
                self.plan = self.case.plan()
                self._take(self.plan.ready(self.outcomes, self.begun))
            most = self.rng.randint(1, len(self.in_flight))
            ended = [i for i in self.rng.sample(self.in_flight, most) if not self._begins(i)]
            for key in ended:
                self.in_flight.remove(key)
                self.outcomes[key] = self._outcome(key)
            self._take(self.plan.after(ended, self.outcomes, self.begun))
        return self

    def _begins(self, key: str) -> bool:
        if key != EACH:
            return False
        self.in_flight.remove(key)
        items = [case.nodes[EACH].output for case in self.case.items]
        self.begun[key] = Loop(items, self.case.concurrency)
        return True

    def _outcome(self, key: str) -> Outcome:
        node_id, path = NodeRunKey.parse(key)
        if not path:
            return Outcome(NodeStatus.COMPLETED, {"outputData": self.inputs[key]})
        return self.case.items[path[0]].nodes[node_id].outcome()

    def _take(self, step: TextStep) -> None:
        for key in (*step.skip, *step.decided, *step.start):
            assert key not in self.outcomes, f"{key} was decided before"
        self.outcomes.update(dict.fromkeys(step.skip, SKIPPED))
        self.outcomes.update(step.decided)
        for key in step.decided:
            self.begun.pop(key, None)
        for key in step.start:
            assert key not in self.in_flight, f"{key} was handed out twice"
            self.inputs[key] = self.plan.node_input(key, self.outcomes)
            self.in_flight.append(key)
        under_way = {NodeRunKey.parse(key).path for key in self.in_flight} - {()}
        self.most_at_once = max(self.most_at_once, len(under_way))


def expected_item_output(case: Case) -> Any:
    """Return one item's result: like ``finalOutput``, but the output of a single leaf."""
    found = fates(case)
    output = expected_final_output(case, found)
    has_output = any(
        case.nodes[i].type == "output" and fate == "completed" for i, fate in found.items()
    )
    if has_output or len(output) != 1:
        return output
    return next(iter(output.values()))


@thorough
@given(loop_cases(), seeds, st.integers(0, 3))
def test_each_item_runs_independently_of_others_and_of_restarts(
    case: LoopCase, seed: int, kills: int
) -> None:
    run = LoopDriver(case, random.Random(seed)).drive(kills=kills)

    for item, alone in enumerate(case.items):
        found = fates(alone)
        for node_id in alone.nodes.keys() - {EACH}:
            key = f"{node_id}[{item}]"
            assert run.outcomes[key].status == found[node_id]
            if found[node_id] != "skipped":
                assert run.inputs[key] == expected_input(alone, node_id, found)
    assert run.outcomes["end"].result["outputData"] == [expected_item_output(c) for c in case.items]
    assert run.begun == {}


@thorough
@given(loop_cases(), seeds)
def test_no_more_items_are_under_way_than_may_be(case: LoopCase, seed: int) -> None:
    run = LoopDriver(case, random.Random(seed)).drive()

    assert run.most_at_once == min(case.concurrency, len(case.items))


@thorough
@given(loop_cases(), seeds)
def test_every_node_that_counts_is_decided_at_the_end(case: LoopCase, seed: int) -> None:
    run = LoopDriver(case, random.Random(seed)).drive()
    progress = run.plan.plan.progress(by_key(run.outcomes))

    assert run.plan.plan.counted == {"start", "end", *case.body.nodes}
    assert progress.completed + progress.failed + progress.skipped == progress.total
    for node_id in case.body.nodes.keys() - {EACH}:
        statuses = {fates(item)[node_id] for item in case.items}
        worst = next(s for s in ("error", "completed", "skipped") if s in statuses)
        assert run.outcomes[node_id].status == worst
