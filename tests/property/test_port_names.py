"""Port names: aliases of a port result in the same run, and other names are rejected."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.errors import InvalidDocumentError
from engine.ports import Port
from engine.validation import read_and_validate
from tasks.registry import DEFAULT
from tests.support.plans import PlannedRun, done

CONFIGS: dict[str, dict[str, Any]] = {
    "condition": {"conditionField": "a"},
    "splitColumns": {"columnsOutputA": ["a"]},
    "switch": {"switchField": "a", "switchCases": [{"value": 1}]},
}
SEVERAL_OUTPUTS = [name for name in DEFAULT.known if len(DEFAULT.ports(name).outputs) > 1]
SEVERAL_INPUTS = [name for name in DEFAULT.known if len(DEFAULT.ports(name).inputs) > 1]
AFFIXES = ("in", "out", "source", "target", "handle", "port", "branch", "path", "error")
OUTCOMES = {
    "condition": done({"a": 1}, conditionResult=False),
    "approval": done({"a": 1}, conditionResult=True),
    "splitColumns": done({"A": 1, "B": 2}, portData=True),
    "forEach": done([1, 2]),
    "switch": done({"a": 1}, portData={"case2": {"a": 1}}),
}


def spellings(port: Port) -> st.SearchStrategy[Any]:
    names = st.sampled_from([port.name, *port.aliases])
    cased = names.flatmap(
        lambda name: st.sampled_from([name, name.upper(), name.lower(), name.capitalize()])
    )
    affix = st.sampled_from(["output", "source", "handle", "port", "Branch", "target", "input"])
    between = st.sampled_from(["-", "_", " ", ".", ":", "--"])
    around = st.one_of(
        cased,
        st.builds(lambda a, b, c: f"{a}{b}{c}", affix, between, cased),
        st.builds(lambda a, b, c: f"{c}{b}{a}", affix, between, cased),
        cased.map(lambda name: f"  {name}\t"),
    )
    values = {"true": [True, 1, 1.0], "false": [False, 0, 0.0]}.get(port.name)
    has_numbers = "1" in port.aliases or "0" in port.aliases
    return st.one_of(around, st.sampled_from(values)) if values and has_numbers else around


def drawn(node_type: str, names: list[Any], key: str) -> dict[str, Any]:
    """A node with a connection for each name, out of it or into it."""
    out = key in ("outputType", "fromPort", "sourceHandle")
    from_key, to_key = (
        ("source", "target") if key.endswith("Handle") else ("fromNodeId", "toNodeId")
    )
    others = [f"n{i}" for i in range(len(names))]
    return {
        "nodes": [
            {"id": "it", "type": node_type, "config": CONFIGS.get(node_type, {})},
            *({"id": other, "type": "output"} for other in others),
        ],
        "edges" if key.endswith("Handle") else "connections": [
            {
                "id": f"c{i}",
                from_key: "it" if out else other,
                to_key: other if out else "it",
                key: name,
            }
            for i, (other, name) in enumerate(zip(others, names, strict=True))
        ],
    }


def run_of(node_type: str, names: list[Any], key: str) -> Any:
    """Return the step after the node, and the inputs of the nodes that start."""
    graph = read_and_validate(drawn(node_type, names, key), DEFAULT.rules).graph
    plan = PlannedRun(graph)
    outcomes = {"it": OUTCOMES.get(node_type, done({"x": 1}))}
    if key in ("inputPort", "toPort", "targetHandle"):
        outcomes = {f"n{i}": done([i]) for i in range(len(names))}
        return plan.node_input("it", outcomes)
    step = plan.ready(outcomes)
    inputs = {i: plan.node_input(i, outcomes) for i in step.start if "[" not in i}
    return step, inputs, [connection.output_type for connection in graph.document.connections]


@given(data=st.data())
def test_another_spelling_of_an_output_gives_the_same_run(data: st.DataObject):
    node_type = data.draw(st.sampled_from(SEVERAL_OUTPUTS))
    key = data.draw(st.sampled_from(["outputType", "fromPort", "sourceHandle"]))
    ports = data.draw(st.lists(st.sampled_from(DEFAULT.ports(node_type).outputs), min_size=1))
    spelt = [data.draw(spellings(port)) for port in ports]
    assert run_of(node_type, spelt, key) == run_of(
        node_type, [port.name for port in ports], "outputType"
    )


@given(data=st.data())
def test_another_spelling_of_an_input_gives_the_same_run(data: st.DataObject):
    node_type = data.draw(st.sampled_from(SEVERAL_INPUTS))
    key = data.draw(st.sampled_from(["inputPort", "toPort", "targetHandle"]))
    ports = data.draw(st.lists(st.sampled_from(DEFAULT.ports(node_type).inputs), min_size=1))
    spelt = [data.draw(spellings(port)) for port in ports]
    assert run_of(node_type, spelt, key) == run_of(
        node_type, [port.name for port in ports], "inputPort"
    )


@given(
    node_type=st.sampled_from(SEVERAL_OUTPUTS),
    key=st.sampled_from(["outputType", "fromPort", "sourceHandle"]),
    name=st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
        st.integers(2, 10**6),
        st.integers(max_value=-1),
        st.sampled_from(["truefalse", "true false", "maybe", "C", "AB", "donee", "11"]),
    ),
)
def test_any_other_name_of_an_output_is_rejected(node_type: str, key: str, name: Any):
    letters = "".join(c for c in str(name).casefold() if c.isalnum())
    known = {
        spelling.casefold()
        for port in DEFAULT.ports(node_type).outputs
        for spelling in (port.name, *port.aliases)
    }
    assume(letters not in known and not any(word in letters for word in AFFIXES))
    assume(str(name).strip())
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate(drawn(node_type, [name], key), DEFAULT.rules)
    (problem,) = refused.value.problems
    assert problem.code == "unknown_port"
    assert "c0" in problem.detail
    assert all(port.name in problem.detail for port in DEFAULT.ports(node_type).outputs)
