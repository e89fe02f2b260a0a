"""Invalid documents and inputs: rejected at submission, with all reasons at once."""

from typing import Any

import pytest

from tests.support.documents import document, line, node
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService

Pointed = list[tuple[str, str]]


def refused(service: RunningService, data: object, **body: Any) -> dict[str, Any]:
    """Return the problem document of a submission that stores nothing except the workflow."""
    service.save(data)
    before = row_counts(service)
    problem = problem_of(service.submit(**body))
    assert row_counts(service) == before
    for error in problem["errors"]:
        assert error["detail"] in problem["detail"]
    return problem


def reasons(problem: dict[str, Any]) -> Pointed:
    return [(error["code"], error["pointer"]) for error in problem["errors"]]


# Values that are not documents

NO_DOCUMENT = {
    "empty": ("", "invalid_json", "not valid JSON"),
    "no JSON": ("{nope", "invalid_json", "double quotes"),
    "null": ("null", "invalid_document", "of type null, not an object"),
    "a list": ("[]", "invalid_document", "of type list, not an object"),
    "a number": ("5", "invalid_document", "of type number, not an object"),
    "a text": ('"{}"', "invalid_document", "of type string, not an object"),
    "no nodes": ("{}", "invalid_document", "has no 'nodes'"),
    "nodes null": ('{"nodes": null}', "invalid_document", "has no 'nodes'"),
    "an empty list of nodes": ('{"nodes": []}', "no_entry_node", "the workflow has no entry node"),
    "300 levels": ("[" * 300 + "]" * 300, "invalid_json", "deeper than 200 levels"),
    "100,000 levels": ("[" * 100_000, "invalid_json", "deeper than 200 levels"),
    "NaN": ('{"nodes": [NaN]}', "invalid_json", "NaN"),
    "1e999": ('{"nodes": [1e999]}', "invalid_json", "1e999"),
    "5,000 digits": (f'{{"nodes": [{"9" * 5_000}]}}', "invalid_json", "4300 digits"),
}


@pytest.mark.parametrize("name", NO_DOCUMENT)
def test_data_that_is_not_a_document_is_rejected(shared_service: RunningService, name: str) -> None:
    text, code, reason = NO_DOCUMENT[name]
    problem = refused(shared_service, text)
    assert [error["code"] for error in problem["errors"]] == [code]
    assert problem["detail"].startswith("The workflow cannot run: ")
    assert reason in problem["detail"]


def test_data_that_another_writer_stored_as_bytes_is_read(shared_service: RunningService) -> None:
    shared_service.write(
        "INSERT INTO workflows(id, name, data) VALUES ('blob', 'Blob', ?)",
        b'{"nodes": [{"id": "a", "type": "trigger"}]}',
    )
    response = shared_service.submit("blob")
    assert response.status_code == 200, response.text
    assert shared_service.ended(response.json()["executionId"])["finalOutput"] == {"a": {}}


@pytest.mark.parametrize("kind", ["BLOB", "TEXT"])
def test_data_with_invalid_unicode_is_rejected(shared_service: RunningService, kind: str) -> None:
    shared_service.write(
        f"INSERT OR REPLACE INTO workflows(id, name, data) VALUES ('w', 'W', CAST(? AS {kind}))",
        b"{\xff\xfe",
    )
    problem = problem_of(shared_service.submit())
    assert reasons(problem) == [("invalid_json", "")]


def test_every_part_of_the_wrong_shape_is_named(shared_service: RunningService) -> None:
    nodes: list[Any] = [
        5,
        {"type": "output"},
        {"id": "a"},
        {"id": ["b"], "type": "output"},
        {"id": "c", "type": "output", "config": []},
        {"id": "d", "type": {}},
    ]
    connections: list[Any] = ["a -> b", {"id": "x"}, {"fromNodeId": "a", "toNodeId": {}}]
    problem = refused(shared_service, {"nodes": nodes, "connections": connections})
    assert {error["code"] for error in problem["errors"]} == {"invalid_document"}
    assert [error["pointer"] for error in problem["errors"]] == [
        "/nodes/0",
        "/nodes/1/id",
        "/nodes/2/type",
        "/nodes/3/id",
        "/nodes/4/config",
        "/nodes/5/type",
        "/connections/0",
        "/connections/1/fromNodeId",
        "/connections/1/toNodeId",
        "/connections/2/toNodeId",
    ]


# Documents that cannot run


def everything_wrong(spelling: str) -> dict[str, Any]:
    """A duplicate id, a dangling connection, a cycle, an unknown type, two rejected configs."""
    nodes: list[tuple[str, str, dict[str, Any]]] = [
        ("start", "trigger", {}),
        ("twice", "output", {}),
        ("twice", "output", {}),
        ("a", "output", {}),
        ("b", "output", {}),
        ("odd", "mystery", {}),
        ("fetch", "http", {"retries": 99}),
        ("ask", "llm", {}),
    ]
    ways = [("start", "gone"), ("a", "b"), ("b", "a"), ("start", "fetch"), ("fetch", "ask")]
    if spelling == "main project":
        return {
            "nodes": [{"id": i, "type": t, "label": i, "config": c} for i, t, c in nodes],
            "connections": [
                {"id": f"c{n}", "fromNodeId": a, "toNodeId": b} for n, (a, b) in enumerate(ways)
            ],
        }
    return {
        "nodes": [{"id": i, "type": t, "data": {"label": i, **c}} for i, t, c in nodes],
        "edges": [{"id": f"c{n}", "source": a, "target": b} for n, (a, b) in enumerate(ways)],
    }


@pytest.mark.parametrize(
    ("spelling", "ways", "config"),
    [("main project", "connections", "config"), ("React Flow", "edges", "data")],
)
def test_every_reason_is_given_at_once_with_pointers_into_what_was_saved(
    shared_service: RunningService, spelling: str, ways: str, config: str
) -> None:
    problem = refused(shared_service, everything_wrong(spelling))
    assert sorted(reasons(problem)) == sorted(
        [
            ("duplicate_node_id", "/nodes/2/id"),
            ("dangling_connection", f"/{ways}/0"),
            ("cycle", f"/{ways}/2"),
            ("unknown_node_type", "/nodes/5/type"),
            ("invalid_config", f"/nodes/6/{config}/httpUrl"),
            ("invalid_config", f"/nodes/6/{config}/retries"),
            ("invalid_config", f"/nodes/7/{config}/llmPrompt"),
        ]
    )
    details = {error["code"]: error["detail"] for error in problem["errors"]}
    assert "'twice' is used 2 times" in details["duplicate_node_id"]
    assert "connection 'c0' has the unknown target 'gone'" in details["dangling_connection"]
    assert "a → b → a" in details["cycle"]
    assert "'odd' is of unknown type 'mystery'" in details["unknown_node_type"]
    assert "addField" in details["unknown_node_type"]
    named = {error.get("nodeId") for error in problem["errors"]}
    assert {"twice", "odd", "fetch", "ask"} <= named
    assert {"c0", "c2"} <= {error.get("connectionId") for error in problem["errors"]}


def test_a_document_of_comments_has_no_start(shared_service: RunningService) -> None:
    problem = refused(shared_service, document(node("note", "comment", commentText="hi")))
    assert reasons(problem) == [("no_entry_node", "/nodes")]


def test_a_document_that_is_only_a_cycle_is_rejected_for_both_reasons(
    shared_service: RunningService,
) -> None:
    graph = document(node("a"), node("b"), flow=("a -> b", "b -> a"))
    assert {code for code, _ in reasons(refused(shared_service, graph))} == {
        "cycle",
        "no_entry_node",
    }


def test_a_node_connected_to_itself_is_a_cycle(shared_service: RunningService) -> None:
    graph = document(node("start", "trigger"), node("a"), flow=("start -> a", "a -> a"))
    problem = refused(shared_service, graph)
    assert reasons(problem) == [("cycle", "/connections/1")]
    assert "a → a" in problem["detail"]


OPTIONS = {
    "retries": [-1, 11, 1.5, "many", []],
    "retryDelaySeconds": [-1, "soon", 1e9],
    "retryBackoff": ["linear", 5],
    "timeoutSeconds": [0, -1, "long", {}],
    "onError": ["ignore", 1],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in OPTIONS for value in OPTIONS[option]]
)
def test_options_that_every_node_may_carry_are_checked(
    shared_service: RunningService, option: str, value: object
) -> None:
    problem = refused(shared_service, document(node("n", "trigger", **{option: value})))
    assert reasons(problem) == [("invalid_config", f"/nodes/0/config/{option}")]
    assert f"'{option}'" in problem["detail"]
    assert "'n'" in problem["detail"]


def test_of_a_thousand_reasons_a_hundred_are_given_and_the_others_counted(
    shared_service: RunningService,
) -> None:
    nodes = [node(f"n{i}", "mystery") for i in range(1_000)]
    problem = refused(shared_service, document(*nodes))
    assert (len(problem["errors"]), problem["moreErrors"]) == (100, 900)


# Inputs


@pytest.fixture
def without_trigger(shared_service: RunningService) -> RunningService:
    """The shared service, with a workflow whose only input is ``number``."""
    shared_service.save(
        document(
            node("number", "manualInput"), node("hook", "webhook"), node("end"),
            flow=("number -> end", "hook -> end"),
        )
    )  # fmt: skip
    return shared_service


def test_every_unused_input_is_named(without_trigger: RunningService) -> None:
    before = row_counts(without_trigger)
    inputs = {"number": 1, "numbr": 2, "a/b~c": 3, "": 4, "end": 5, "ключ 🎉": 6}
    problem = problem_of(without_trigger.submit(inputs=inputs))
    assert reasons(problem) == [
        ("unknown_input", f"/inputs/{key}") for key in ("numbr", "a~1b~0c", "", "end", "ключ 🎉")
    ]
    for key in ("numbr", "a/b~c", "", "end", "ключ 🎉"):
        assert f"input '{key}'" in problem["detail"]
    assert row_counts(without_trigger) == before


def test_webhook_data_needs_a_webhook(shared_service: RunningService) -> None:
    problem = refused(shared_service, line(2), inputs={"_webhookData": {}})
    assert reasons(problem) == [("unknown_input", "/inputs/_webhookData")]


def test_a_document_is_rejected_before_its_inputs_are_checked(
    shared_service: RunningService,
) -> None:
    problem = refused(shared_service, document(node("a", "mystery")), inputs={"nope": 1})
    assert reasons(problem) == [("unknown_node_type", "/nodes/0/type")]
