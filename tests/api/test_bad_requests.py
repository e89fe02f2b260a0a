"""Invalid requests: each gets a clear error and stores no row; unusual valid requests succeed."""

import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.support.documents import document, line, node
from tests.support.generated import examples
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService

EXECUTE, TRY = "/api/workflows/execute", "/api/nodes/execute"


def post(
    service: RunningService, body: str | bytes, path: str = EXECUTE, **headers: str
) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return service.http.post(
        path, content=body, headers={"content-type": "application/json", **names}
    )


@pytest.fixture
def service(shared_service: RunningService) -> Iterator[RunningService]:
    """Yield the shared service; the test must not change the tables."""
    shared_service.save(line(3))
    before = row_counts(shared_service)
    yield shared_service
    assert row_counts(shared_service) == before


def inputs(value: str) -> str:
    return f'{{"workflowId": "w", "inputs": {{"start": {value}}}}}'


TRAILING_COMMA = (
    "Illegal trailing comma" if sys.version_info >= (3, 13) else "name enclosed in double quotes"
)
NO_JSON = {
    "cut off": ('{"workflowId": "w"', "Expecting"),
    "a trailing comma": ('{"workflowId": "w",}', TRAILING_COMMA),
    "two values": ('{"workflowId": "w"} {}', "Extra data"),
    "NaN": (inputs("NaN"), "NaN"),
    "Infinity": (inputs("[-Infinity]"), "-Infinity"),
    "a number beyond doubles": (inputs("1e999"), "1e999"),
    "300 levels": (inputs("[" * 300 + "]" * 300), "nested deeper than 200 levels"),
    "100,000 levels": (inputs("[" * 100_000 + "]" * 100_000), "nested deeper than 200 levels"),
    "100,000 objects": ('{"a":' * 100_000, "nested deeper than 200 levels"),
    "5,000 digits": (inputs("9" * 5_000), "4300 digits"),
    "bytes that are not UTF-8": (b'{"workflowId": "\xff\xfe"}', "decode"),
    "UTF-16": ('{"workflowId": "w"}'.encode("utf-16"), "decode"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage", "decode"),
    "a raw control character": (b'{"workflowId": "a\x00b"}', "control character"),
}


@pytest.mark.parametrize("path", [EXECUTE, TRY])
@pytest.mark.parametrize("name", NO_JSON)
def test_an_invalid_json_body_is_rejected_with_the_reason(
    service: RunningService, name: str, path: str
) -> None:
    body, reason = NO_JSON[name]
    problem = problem_of(post(service, body, path))
    assert problem["detail"].startswith("the body is not valid JSON: ")
    assert reason in problem["detail"]
    assert [error["pointer"] for error in problem["errors"]] == [""]


def test_a_compressed_body_is_not_unpacked(service: RunningService) -> None:
    problem_of(post(service, b"\x1f\x8b\x08\x00garbage", content_encoding="gzip"))


@pytest.mark.parametrize("path", [EXECUTE, TRY])
@pytest.mark.parametrize("body", ["[]", "5", '"text"', "true", '[{"workflowId": "w"}]'])
def test_a_body_that_is_not_an_object_is_rejected(
    service: RunningService, body: str, path: str
) -> None:
    assert "must be a JSON object" in problem_of(post(service, body, path))["detail"]


@pytest.mark.parametrize("body", ["", "null"])
def test_an_empty_body_is_rejected(service: RunningService, body: str) -> None:
    assert "the body is empty" in problem_of(post(service, body))["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "garbage", ""]
)
def test_another_content_type_is_rejected_with_the_right_one(
    service: RunningService, content_type: str
) -> None:
    problem = problem_of(post(service, '{"workflowId": "w"}', content_type=content_type))
    assert "Content-Type: application/json" in problem["detail"]


LONG = "x" * 5_000_000
WRONG_FIELDS: list[tuple[str, dict[str, Any], list[str]]] = [
    (EXECUTE, {}, ["/workflowId"]),
    (EXECUTE, {"workflow_Id": "w"}, ["/workflowId", "/workflow_Id"]),
    *((EXECUTE, {"workflowId": i}, ["/workflowId"]) for i in (5, None, "", True, [], {}, LONG)),
    (EXECUTE, {"workflowId": "a\0b"}, ["/workflowId"]),
    *((EXECUTE, {"workflowId": "w", "inputs": i}, ["/inputs"]) for i in ([], "text", 5, False)),
    *(
        (EXECUTE, {"workflowId": "w", "organizationId": i}, ["/organizationId"])
        for i in (5, "", "o\0", ["o"])
    ),
    (EXECUTE, {"inputs": 1, "organizationId": 2}, ["/workflowId", "/inputs", "/organizationId"]),
    (TRY, {}, ["/workflowId", "/nodeId", "/nodeType", "/node"]),
    *(
        (TRY, {"workflowId": "w", "nodeId": "n", "nodeType": "output", "node": i}, ["/node"])
        for i in ([], "text", None)
    ),
    (TRY, {"workflowId": 1, "nodeId": 2, "nodeType": "output", "node": {}},
     ["/workflowId", "/nodeId"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    WRONG_FIELDS,
    ids=[f"{path} {str(body)[:50]}" for path, body, _ in WRONG_FIELDS],
)
def test_every_wrong_field_is_named_with_its_pointer(
    service: RunningService, path: str, body: dict[str, Any], pointers: list[str]
) -> None:
    problem = problem_of(post(service, json.dumps(body), path))
    assert [error["pointer"] for error in problem["errors"]] == pointers
    for pointer, error in zip(pointers, problem["errors"], strict=True):
        assert error["detail"].startswith(pointer.removeprefix("/") + ": ")
        assert error["detail"] in problem["detail"]
    assert len(problem["detail"]) < 1_000  # the response does not repeat the request


@pytest.mark.parametrize("limit", ["0", "-1", "abc", "1e9", "", "1001", "9" * 30, "NaN", "1.5"])
def test_a_limit_out_of_range_is_rejected(service: RunningService, limit: str) -> None:
    problem = problem_of(service.http.get("/api/workflows/w/executions", params={"limit": limit}))
    assert problem["detail"].startswith("limit: ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/executions/{}"),
        ("GET", "/api/executions/{}/logs"),
        ("POST", "/api/executions/{}/cancel"),
        ("GET", "/api/workflows/{}/executions"),
    ],
)
@pytest.mark.parametrize(
    "unknown", ["nope", "%00", "%F0%9F%8E%89", "%ED%A0%80", "'; DROP", "..%5C"]
)
def test_an_unknown_id_is_a_404_that_names_what_is_missing(
    service: RunningService, method: str, path: str, unknown: str
) -> None:
    problem = problem_of(service.http.request(method, path.format(unknown)), 404)
    assert problem["detail"].startswith(("Execution '", "Workflow '"))
    assert problem["detail"].endswith("' not found")


def test_an_unknown_workflow_is_a_404_with_its_id(service: RunningService) -> None:
    assert "'nope 🎉'" in problem_of(service.submit("nope 🎉"), 404)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", EXECUTE, 405), ("DELETE", "/api/executions/x", 405)],
)
def test_unknown_routes_and_methods_are_problem_documents(
    service: RunningService, method: str, path: str, status: int
) -> None:
    problem_of(service.http.request(method, path), status)


# Unusual but valid requests


def accepted(service: RunningService, body: str | bytes, **headers: str) -> dict[str, Any]:
    response = post(service, body, **headers)
    assert response.status_code == 200, response.text
    done = service.ended(response.json()["executionId"])
    assert done["status"] == "completed"
    return done


def test_a_byte_order_mark_and_a_charset_are_accepted(shared_service: RunningService) -> None:
    shared_service.save(line(2))
    body = b'\xef\xbb\xbf{"workflowId": "w", "inputs": {"a": "\xc3\xa9"}}'
    done = accepted(shared_service, body, content_type="application/json; charset=utf-8")
    assert done["finalOutput"] == {"a": "é"}


def test_the_last_of_two_rows_with_one_key_counts(shared_service: RunningService) -> None:
    shared_service.save(line(2))
    done = accepted(
        shared_service, '{"workflowId": "nope", "workflowId": "w", "inputs": {"a": 1, "a": 2}}'
    )
    assert done["finalOutput"] == {"a": 2}


@pytest.mark.parametrize(
    "value",
    ["a\0b", "🎉 \u2028 \u202e", int("9" * 4_000), 1.7976931348623157e308, -0.0, "", {"": {}}],
    ids=["NUL", "unicode", "4,000 digits", "the largest double", "-0.0", "empty", "empty key"],
)
def test_a_value_is_returned_unchanged(shared_service: RunningService, value: object) -> None:
    done = shared_service.run(document(node("start", "trigger")), inputs={"start": {"v": value}})
    assert done["status"] == "completed"
    assert repr(done["finalOutput"]) == repr({"start": {"v": value}})
    logs = shared_service.logs(done["executionId"])
    assert repr(logs["start"]["outputData"]) == repr({"v": value})


def test_nesting_up_to_the_limit_survives_the_way_through(shared_service: RunningService) -> None:
    deep: Any = "bottom"
    for _ in range(198):
        deep = [deep]
    graph = document(node("start", "trigger"), node("left"), node("right"),
                     flow=("start -> left", "start -> right"))  # fmt: skip
    done = shared_service.run(graph, inputs={"start": deep})
    assert done["status"] == "completed"
    assert done["finalOutput"] == {"left": deep, "right": deep}
    assert shared_service.logs(done["executionId"])["right"]["outputData"] == deep


def test_inputs_of_a_megabyte_come_out_whole(shared_service: RunningService) -> None:
    rows = [{"id": i, "text": "é" * 90} for i in range(5_500)]
    body = {"rows": rows}
    assert len(json.dumps(body, ensure_ascii=False).encode()) > 1_000_000
    done = shared_service.run(line(3), inputs=body)
    assert done["finalOutput"] == {"rows": rows, "f0": 0}
    logs = shared_service.logs(done["executionId"])
    assert logs["start"]["outputData"] == body
    assert logs["end"]["outputData"] == {"rows": rows, "f0": 0}


@pytest.mark.parametrize(
    "strange",
    ["ünïcödé 🎉", "50% ?#&=+", "..", " ", "\\", "\"'`", "x" * 500],
)
def test_any_string_may_be_an_id(shared_service: RunningService, strange: str) -> None:
    graph = document(
        node(strange, "manualInput", inputVarName="v"), node("end"), flow=(f"{strange} -> end",)
    )
    graph["connections"][0]["fromNodeId"] = strange  # unchanged, including spaces
    shared_service.save(graph, strange, strange)
    response = shared_service.submit(strange, inputs={strange: 5})
    assert response.status_code == 200, response.text
    execution_id = response.json()["executionId"]
    done = shared_service.ended(execution_id)
    assert (done["workflowId"], done["finalOutput"]) == (strange, {"v": 5})
    assert shared_service.logs(execution_id)[strange]["outputData"] == {"v": 5}
    # Raw, because the client would resolve ``..`` in a URL.
    encoded = quote(strange, safe="").replace(".", "%2E")
    listed = shared_service.http.get(f"/api/workflows/{encoded}/executions").json()
    assert listed["workflowName"] == strange
    assert execution_id in [row["id"] for row in listed["executions"]]


# Generated requests

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
ids = st.sampled_from(["w", "nope", "start", "", "\0", "é/ü"]) | json_values
executions = st.fixed_dictionaries(
    {}, optional={"workflowId": ids, "inputs": json_values, "organizationId": json_values}
)
types = st.sampled_from(["trigger", "manualInput", "output", "condition", "addField", "join"])
configs = st.dictionaries(
    st.sampled_from(
        [
            "timeoutSeconds",
            "retryBackoff",
            "onError",
            "fieldName",
            "fieldValue",
            "conditionField",
            "conditionOperator",
            "additionalConditions",
            "joinKey",
            "inputVarName",
        ]
    ),
    json_values,
    max_size=4,
)
trials = st.fixed_dictionaries(
    {},
    optional={
        "workflowId": ids,
        "nodeId": ids,
        "nodeType": types | json_values,
        "node": st.fixed_dictionaries({"config": configs | json_values}) | json_values,
        "inputData": json_values,
    },
)


# Threads of the service use ``random`` too; hypothesis would blame the strategy for it.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=executions | json_values, trial=trials | json_values)
def test_no_body_makes_the_service_fail(
    shared_service: RunningService, body: object, trial: object
) -> None:
    for path, value in ((EXECUTE, body), (TRY, trial)):
        response = post(shared_service, json.dumps(value), path)
        assert response.status_code in (200, 400, 404, 422), response.text
        if response.status_code != 200:
            problem_of(response, response.status_code)
