"""Large workflows: counted, not timed."""

from typing import Any

import pytest

from engine.document import Connection, parse_document
from engine.errors import InvalidDocumentError
from engine.inputs import start_manually
from engine.outcome import Outcome
from engine.scope_plan import ScopePlan
from engine.status import NodeStatus
from engine.validation import MAX_CYCLES
from tests.support.documents import validate

LENGTH = 5_000
DONE = Outcome(NodeStatus.COMPLETED, {"outputData": {}})


def document(size: int, connections: list[tuple[int, int]]) -> dict[str, Any]:
    return {
        "nodes": [{"id": i, "type": "plain", "config": {}} for i in range(size)],
        "connections": [{"id": f"{a}-{b}", "fromNodeId": a, "toNodeId": b} for a, b in connections],
    }


class CountingPlan(ScopePlan):
    """Counts how often it looks at a connection."""

    looks: list[str]

    def is_live(self, connection: Connection, outcome: Outcome) -> bool:
        self.looks.append(connection.id)
        return super().is_live(connection, outcome)


def counting_plan(size: int, connections: list[tuple[int, int]]) -> CountingPlan:
    graph = validate(parse_document(document(size, connections)), {"plain"}, lambda _: [])
    plan = CountingPlan(graph, start_manually(graph, None))
    object.__setattr__(plan, "looks", [])
    return plan


def drive(plan: ScopePlan, outcomes: dict[str, Outcome]) -> list[str]:
    started: list[str] = []
    todo = list(plan.ready(outcomes).start)
    while todo:
        node_id = todo.pop()
        started.append(node_id)
        outcomes[node_id] = DONE
        todo += plan.after([node_id], outcomes).start
    return started


LINE = [(i, i + 1) for i in range(LENGTH - 1)]


def test_a_line_of_five_thousand_nodes_is_driven_by_one_look_at_each_connection() -> None:
    plan = counting_plan(LENGTH, LINE)

    started = drive(plan, {})

    assert started == [str(i) for i in range(LENGTH)]
    assert len(plan.looks) == len(LINE)


def test_a_node_fed_by_thousands_looks_at_each_of_them_once() -> None:
    fan_in = [(i, LENGTH - 1) for i in range(LENGTH - 1)]
    plan = counting_plan(LENGTH, fan_in)

    started = drive(plan, {})

    assert started[-1] == str(LENGTH - 1)
    assert len(plan.looks) <= len(fan_in)


def test_one_dead_root_skips_a_line_of_thousands_in_one_step() -> None:
    plan = counting_plan(LENGTH, LINE)
    outcomes = {"0": Outcome(NodeStatus.ERROR, error="broke")}
    object.__setattr__(plan, "stops", lambda *_: False)

    step = plan.after(["0"], outcomes)

    assert step.skip == tuple(str(i) for i in range(1, LENGTH))
    assert len(plan.looks) == 1


def test_a_cycle_of_five_thousand_nodes_is_named_without_exhausting_the_stack() -> None:
    circle = document(LENGTH, [*LINE, (LENGTH - 1, 0)])

    with pytest.raises(InvalidDocumentError) as refused:
        validate(parse_document(circle), {"plain"}, lambda _: [])

    cycle = next(p for p in refused.value.problems if p.code == "cycle")
    assert cycle.connection_id == f"{LENGTH - 1}-0"
    assert cycle.detail.count("→") == LENGTH


def test_of_very_many_cycles_only_the_first_are_named() -> None:
    tangle = document(LENGTH, [*LINE, *((i + 1, i) for i in range(LENGTH - 1))])

    with pytest.raises(InvalidDocumentError) as refused:
        validate(parse_document(tangle), {"plain"}, lambda _: [])

    assert [p.code for p in refused.value.problems].count("cycle") == MAX_CYCLES
