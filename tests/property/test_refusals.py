"""A document is rejected for exactly the problems that a naive check finds."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.document import parse_document
from engine.errors import InvalidDocumentError, Problem
from tests.support.documents import validate
from tests.support.generated import examples

thorough = examples(200)

KNOWN = ("http", "trigger", "comment")
Nodes = list[tuple[str, str]]
Ways = list[tuple[str, str]]

few_nodes = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([*KNOWN, "http", "http", "mystery"])),
    max_size=6,
)
few_ways = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), max_size=9)


def problems(nodes: Nodes, ways: Ways) -> list[Problem]:
    document = {
        "nodes": [{"id": node_id, "type": kind} for node_id, kind in nodes],
        "edges": [{"id": str(i), "source": a, "target": b} for i, (a, b) in enumerate(ways)],
    }
    try:
        validate(parse_document(document), KNOWN, lambda _: [])
    except InvalidDocumentError as refused:
        return refused.problems
    return []


def has_cycle(ways: Ways) -> bool:
    """Takes away what nothing feeds until nothing is left, or only what runs in a circle."""
    left = list(ways)
    while left:
        fed = {target for _, target in left}
        fewer = [way for way in left if way[0] in fed]
        if len(fewer) == len(left):
            return True
        left = fewer
    return False


def expected_codes(nodes: Nodes, ways: Ways) -> set[str]:
    ids = [node_id for node_id, _ in nodes]
    ends = {end for way in ways for end in way}
    fed = {target for _, target in ways}
    starts = [i for i, kind in nodes if i not in fed and (kind != "comment" or i in ends)]
    found = {
        "duplicate_node_id": len(ids) > len(set(ids)),
        "dangling_connection": not ends <= set(ids),
        "cycle": has_cycle(ways),
        "no_entry_node": not starts,
        "unknown_node_type": any(kind == "mystery" for _, kind in nodes),
    }
    return {code for code, holds in found.items() if holds}


@thorough
@given(few_nodes, few_ways)
def test_a_document_is_rejected_for_exactly_the_reasons_that_exist(
    nodes: Nodes, ways: Ways
) -> None:
    assert {problem.code for problem in problems(nodes, ways)} == expected_codes(nodes, ways)


@thorough
@given(few_nodes, few_ways)
def test_a_problem_points_at_the_part_that_it_names(nodes: Nodes, ways: Ways) -> None:
    for problem in problems(nodes, ways):
        _, key, *rest = [*problem.pointer.split("/"), "", ""]
        if problem.connection_id is not None:
            assert (key, rest[0]) == ("edges", problem.connection_id)
        elif problem.node_id is not None:
            assert key == "nodes"
            assert nodes[int(rest[0])][0] == problem.node_id
        else:
            assert (problem.code, problem.pointer) == ("no_entry_node", "/nodes")


@thorough
@given(few_ways)
def test_each_cycle_named_is_one_and_without_their_closing_connections_none_is_left(
    ways: Ways,
) -> None:
    cycles: list[Any] = [p for p in problems([], ways) if p.code == "cycle"]

    for cycle in cycles:
        names = cycle.detail.split(": ")[1].split(" → ")
        steps = list(pairwise(names))
        assert names[0] == names[-1] == cycle.node_id
        assert len(set(names)) == len(names) - 1
        assert set(steps) <= set(ways)
        assert steps[-1] == ways[int(cycle.connection_id)]
    closing = {int(cycle.connection_id) for cycle in cycles}
    assert not has_cycle([way for i, way in enumerate(ways) if i not in closing])
