"""Size limits of documents and executions, and the limits of what an error lists."""

from collections.abc import Iterable, Mapping

import pytest

from engine.document import Node, parse_document
from engine.errors import InvalidDocumentError
from engine.limits import DocumentLimits, RunLimits
from engine.problem_lists import MAX_FURTHER_CHECKS, ConfigChecks, ProblemList
from engine.problems import MAX_PROBLEMS, Problem, format_problems, format_remaining

LIMITS = DocumentLimits(nodes=2, connections=3)


def _problems(document: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDocumentError) as caught:
        LIMITS.check(document)  # type: ignore[arg-type]
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


@pytest.mark.parametrize("key", ["connections", "edges"])
def test_a_document_may_have_as_many_parts_as_its_limits(key: str):
    LIMITS.check({"nodes": [{}] * 2, key: [{}] * 3})
    assert _problems({"nodes": [{}] * 3, key: [{}] * 3}) == [("too_many_nodes", "/nodes")]
    assert _problems({"nodes": [{}] * 2, key: [{}] * 4}) == [("too_many_connections", f"/{key}")]
    assert len(_problems({"nodes": [{}] * 3, "connections": [{}] * 4, "edges": [{}] * 4})) == 3


@pytest.mark.parametrize("document", [None, [], "x", {"nodes": None}, {"nodes": {"a": 1, "b": 2}}])
def test_only_lists_of_an_object_are_counted(document: object):
    DocumentLimits(nodes=0, connections=0).check(document)  # type: ignore[arg-type]


def test_an_error_about_a_size_names_the_size_and_the_setting():
    with pytest.raises(InvalidDocumentError, match=r"has 4 connections, .* 3 \(MAX_WORKFLOW_CONN"):
        LIMITS.check({"connections": [{}] * 4})
    limits = RunLimits(node_result_bytes=7, execution_bytes=8)
    assert "larger than 7 bytes of JSON (MAX_NODE_RESULT" in str(limits.result_too_large())
    too_large = limits.execution_too_large("the input")
    assert "with the input the execution would store more than 8 bytes" in str(too_large)
    assert not limits.result_too_large().retryable
    assert not too_large.retryable


def test_the_limits_are_those_of_the_documentation():
    assert (DocumentLimits().nodes, DocumentLimits().connections) == (5_000, 20_000)
    limits = RunLimits()
    assert limits.node_result_bytes == 16 * 2**20
    assert (limits.execution_bytes, limits.concurrent_nodes) == (512 * 2**20, 100)


# Lists of problems


def _problem(code: str = "c") -> Problem:
    return Problem(code, "wrong", "")


def test_the_first_problems_are_kept_and_the_others_are_counted():
    problems = ProblemList()
    problems.extend(_problem() for _ in range(MAX_PROBLEMS - 1))
    assert not problems.is_full
    problems.extend([_problem()])
    assert (problems.is_full, len(problems.first), problems.more) == (True, MAX_PROBLEMS, 0)
    problems.extend([_problem("other")])
    assert (len(problems.first), problems.count, problems.more) == (100, 101, 1)
    assert problems.codes == {"c", "other"}


class _Check:
    """A check of configs: each has as many problems as its ``problems``."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    def __call__(self, node: Node) -> Iterable[Problem]:
        self.checked.append(node.id)
        return [_problem()] * node.config["problems"]


def _nodes(*configs: Mapping[str, object], kind: str = "t") -> tuple[Node, ...]:
    nodes = [{"id": f"n{i}", "type": kind, "config": config} for i, config in enumerate(configs)]
    return parse_document({"nodes": nodes, "connections": []}).nodes


def test_an_invalid_config_is_checked_for_each_node_until_the_list_is_full():
    check, problems = _Check(), ProblemList()
    ConfigChecks(check).run(_nodes(*[{"problems": 40}] * 4), problems)
    assert check.checked == ["n0", "n1", "n2"]  # the list is full after the third
    assert (problems.count, len(problems.first)) == (160, 100)


def test_a_valid_config_is_checked_once():
    check, problems = _Check(), ProblemList()
    checks = ConfigChecks(check)
    checks.run(_nodes(*[{"problems": 0}] * 3), problems)
    checks.run(_nodes({"problems": 0}, kind="other"), problems)
    assert check.checked == ["n0", "n0"]
    assert (problems.count, checks.unchecked) == (0, 0)


def test_other_configs_are_checked_up_to_a_limit_once_the_list_is_full():
    check, problems = _Check(), ProblemList()
    checks = ConfigChecks(check)
    checks.run(_nodes({"problems": MAX_PROBLEMS}), problems)
    different = [{"problems": 0, "number": i} for i in range(MAX_FURTHER_CHECKS + 2)]
    checks.run(_nodes(*different), problems)
    assert len(check.checked) == 1 + MAX_FURTHER_CHECKS
    assert checks.unchecked == 2
    checks.run(_nodes({"problems": MAX_PROBLEMS}), problems)  # a known one is counted
    assert (checks.unchecked, problems.count) == (2, 2 * MAX_PROBLEMS)


def test_the_end_of_a_list_counts_the_problems_that_it_leaves_out():
    assert format_remaining(0) == ""
    assert format_remaining(1) == "and 1 more"
    assert format_remaining(0, 1) == "and at least 0 more; 1 nodes were not checked"
    two = [Problem("c", "one", ""), Problem("c", "two", "")]
    assert format_problems(two, 0, 0) == "one; two"
    assert format_problems(two, 3, 0) == "one; two; and 3 more"


def test_a_problem_names_its_node_and_connection_if_it_has_them():
    plain = {"code": "c", "detail": "d", "pointer": "/p"}
    assert Problem("c", "d", "/p").as_json() == plain
    assert Problem("c", "d", "/p", "", "").as_json() == {**plain, "nodeId": "", "connectionId": ""}
    assert Problem("c", "x" * 1_001, "/p").as_json()["detail"] == "x" * 1_000 + "…"
