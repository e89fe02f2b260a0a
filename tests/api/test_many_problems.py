"""Documents with many problems: the first 100 are listed, the others are counted."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.document import Node
from engine.errors import InvalidDocumentError
from engine.limits import DocumentLimits
from engine.problem_lists import MAX_FURTHER_CHECKS
from engine.problems import MAX_PROBLEMS, Problem
from engine.validation import TypeRules, read_and_validate
from tests.support.generated import IS_THOROUGH
from tests.support.problems import problem_of
from tests.support.service import RunningService

MANY = 3_000
VERY_MANY = 100_000 if IS_THOROUGH else 20_000
Nodes = Callable[[int], dict[str, Any]]
INVALID: dict[str, Nodes] = {
    "equal configs": lambda i: {"id": f"n{i}", "type": "http", "config": {"httpUrl": ""}},
    "unknown types": lambda i: {"id": f"n{i}", "type": "sing", "config": {}},
    "one id": lambda _: {"id": "n", "type": "output", "config": {}},
    "no id": lambda _: {"type": "output"},
    "line breaks": lambda i: {"id": f"a\nb{i}", "type": "output"},
}


def graph_of(make: Nodes, count: int = MANY) -> dict[str, Any]:
    nodes = [make(i) for i in range(count)]
    ends = [(a.get("id"), b.get("id")) for a, b in itertools.pairwise(nodes)]
    connections = [
        {"id": f"c{i}", "fromNodeId": a, "toNodeId": b}
        for i, (a, b) in enumerate(ends)
        if a and a != b
    ]
    return {"nodes": nodes, "connections": connections}


@pytest.mark.parametrize("kind", INVALID)
def test_the_first_errors_are_listed_and_the_others_counted(
    shared_service: RunningService, kind: str
):
    graph = graph_of(INVALID[kind])
    response = shared_service.http.post("/api/workflows/validate", json={"graph": graph}).json()
    assert response["valid"] is False
    assert len(response["errors"]) == MAX_PROBLEMS
    assert response["moreErrors"] >= MANY - MAX_PROBLEMS - 1
    assert response["detail"] == f"and {response['moreErrors']} more"
    refused = problem_of(shared_service.http.post("/api/workflows/execute", json={"graph": graph}))
    assert len(refused["errors"]) == MAX_PROBLEMS
    assert refused["moreErrors"] == response["moreErrors"]
    assert refused["detail"].endswith(f"; and {response['moreErrors']} more")
    assert all(error["pointer"].startswith("/graph/") for error in refused["errors"])
    saved = shared_service.http.post("/api/workflows", json={"name": "n", "data": graph})
    assert saved.status_code == 201
    assert len(saved.json()["errors"]) == MAX_PROBLEMS
    assert saved.json()["moreErrors"] == response["moreErrors"]


def test_a_hundred_errors_are_all_there_is_to_say(shared_service: RunningService):
    graph = graph_of(INVALID["unknown types"], MAX_PROBLEMS)
    response = shared_service.http.post("/api/workflows/validate", json={"graph": graph}).json()
    assert len(response["errors"]) == MAX_PROBLEMS
    assert "moreErrors" not in response


def test_warnings_are_counted_like_errors(shared_service: RunningService):
    nodes = [{"id": f"n{i}", "type": "http", "config": {}} for i in range(300)]
    graph = {"nodes": [{"id": "start", "type": "trigger"}, *nodes], "connections": []}
    response = shared_service.http.post("/api/workflows/validate", json={"graph": graph}).json()
    assert response["valid"] is True
    assert (len(response["warnings"]), response["moreWarnings"]) == (MAX_PROBLEMS, 200)


def refusal_of(configs: list[dict[str, Any]]) -> tuple[InvalidDocumentError, int]:
    """Return the error for nodes with these configs, and the number of checked configs."""
    checked = 0

    def check(node: Node) -> list[Problem]:
        nonlocal checked
        checked += 1
        return [Problem("invalid_config", "wrong", node.pointer, node.id)]

    nodes = [{"id": f"n{i}", "type": "t", "config": config} for i, config in enumerate(configs)]
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate(
            {"nodes": nodes, "connections": []},
            TypeRules(["t"], check),
            DocumentLimits(nodes=len(configs)),
        )
    return refused.value, checked


def test_equal_configs_are_checked_once_after_the_first_errors():
    refused, checked = refusal_of([{}] * VERY_MANY)
    assert len(refused.problems) == MAX_PROBLEMS
    assert (refused.more, refused.unchecked_nodes) == (VERY_MANY - MAX_PROBLEMS, 0)
    assert checked == MAX_PROBLEMS


def test_different_configs_are_checked_up_to_a_limit_after_the_first_errors():
    refused, checked = refusal_of([{"i": i} for i in range(VERY_MANY)])
    assert checked == MAX_PROBLEMS + MAX_FURTHER_CHECKS
    assert refused.more == MAX_FURTHER_CHECKS
    assert refused.unchecked_nodes == VERY_MANY - checked
    assert str(refused).endswith(
        f"and at least {MAX_FURTHER_CHECKS} more; {refused.unchecked_nodes} nodes were not checked"
    )


def test_valid_nodes_are_all_checked_however_many_there_are():
    seen: list[str] = []

    def check(node: Node) -> list[Problem]:
        seen.append(node.id)
        return [Problem("invalid_config", "wrong", "", node.id)] if node.id == "n4999" else []

    nodes = [{"id": f"n{i}", "type": "t", "config": {"i": i}} for i in range(5_000)]
    with pytest.raises(InvalidDocumentError) as refused:
        read_and_validate({"nodes": nodes, "connections": []}, TypeRules(["t"], check))
    assert len(seen) == 5_000
    assert [problem.node_id for problem in refused.value.problems] == ["n4999"]


def test_unused_inputs_are_counted(shared_service: RunningService):
    graph = {"nodes": [{"id": "a", "type": "manualInput", "config": {"inputVarName": "v"}}]}
    body = {"graph": graph, "inputs": {f"k{i}": 1 for i in range(500)}}
    refused = problem_of(shared_service.http.post("/api/workflows/execute", json=body))
    assert len(refused["errors"]) == MAX_PROBLEMS
    assert refused["moreErrors"] == 400


@pytest.mark.parametrize("more", [0, 1])
def test_errors_of_a_request_are_counted_too(shared_service: RunningService, more: int):
    body = {"action": "rerun", "ids": [1] * (MAX_PROBLEMS + more)}
    refused = problem_of(shared_service.http.post("/api/executions/bulk", json=body), 422)
    assert len(refused["errors"]) == MAX_PROBLEMS
    assert refused.get("moreErrors", 0) == more
    assert refused["detail"].endswith("; and 1 more") is bool(more)
    assert ("moreErrors" in refused) is bool(more)


def test_a_long_name_is_not_sent_back_whole(shared_service: RunningService):
    name = "x" * 2_000_000
    graph = {"nodes": [{"id": name, "type": name}, {"id": name, "type": name}], "connections": []}
    for body in ({"graph": graph}, {"graph": {"nodes": []}, "inputs": {name: 1}}, {name: 1}):
        response = shared_service.http.post("/api/workflows/execute", json=body)
        assert response.status_code == 422
        assert len(response.content) < 50_000


def test_very_many_invalid_nodes_get_a_response(tmp_path: Path):
    limits: dict[str, Any] = {"max_workflow_nodes": VERY_MANY, "max_request_body_bytes": 20_000_000}
    nodes = [{"id": f"n{i}", "type": "http", "config": {}} for i in range(VERY_MANY)]
    connections = [{"id": "c", "fromNodeId": "n0", "toNodeId": "n1"}]
    with RunningService(tmp_path, **limits) as service:
        graph = {"nodes": nodes, "connections": connections}
        response = service.http.post("/api/workflows/validate", json={"graph": graph}).json()
    # All but the two connected nodes are neither connected nor configured: warnings.
    assert len(response["errors"]) == 2
    assert (len(response["warnings"]), response["moreWarnings"]) == (100, VERY_MANY - 102)
