"""Templates in executions: the available names, and the errors of invalid templates."""

from datetime import datetime
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior


def add(node_id: str, value: Any, **config: Any) -> dict[str, Any]:
    return node(node_id, "addField", addFieldName=node_id, addFieldValue=value, **config)


def test_a_node_names_what_came_before_it_and_the_execution(shared_service: RunningService):
    drawn = document(
        node("start", "trigger"),
        add("first-one", "{{ who | upper }}"),
        add("last", {"a": "{{ nodes.first-one.output.first-one }}", "in": "{{ inputs }}"}),
        add("id", "{{ execution.id }} {{ nodes['start'].output.who }}"),
        add("at", "{{ now }}"),
        node("end"),
        flow=("start -> first-one", "first-one -> last", "last -> id", "id -> at", "at -> end"),
    )
    done = shared_service.run(drawn, inputs={"who": "Ada"})

    assert (done["status"], done["error"]) == ("completed", None)
    final = done["finalOutput"]
    assert final["last"] == {"a": "ADA", "in": {"who": "Ada"}}
    assert final["id"] == f"{done['executionId']} Ada"
    assert datetime.fromisoformat(final["at"]).utcoffset() is not None


def test_a_node_beside_it_that_has_not_completed_has_no_output(
    shared_service: RunningService, gates: Gates
):
    drawn = document(
        node("start", "trigger"),
        node("beside", "gate"),
        add("early", "{{ nodes.beside.output.x | default('not yet') }}"),
        flow=("start -> beside", "start -> early"),
    )
    execution_id = shared_service.start(drawn, inputs={"x": 1})
    gates.wait_for("beside")
    logs = wait_until(
        lambda: (found := shared_service.logs(execution_id))["early"]["outputData"] and found
    )
    gates.open("beside")

    assert logs["early"]["outputData"]["early"] == "not yet"


def test_output_of_other_nodes_is_not_evaluated_as_a_template(shared_service: RunningService):
    drawn = document(
        node("start", "trigger"),
        add("copied", "so {{ text }} and {{ inputs.text }} and {{ nodes.start.output.text }}"),
        flow=("start -> copied",),
    )
    sly = "{{ execution.id }}{% raw %}"
    done = shared_service.run(drawn, inputs={"text": sly})

    assert done["finalOutput"]["copied"]["copied"] == f"so {sly} and {sly} and {sly}"


def test_records_are_tested_against_other_nodes(shared_service: RunningService):
    drawn = document(
        node("start", "trigger"),
        node(
            "large",
            "condition",
            conditionField="total",
            conditionOperator="greaterThan",
            conditionValue="{{ nodes.start.output.limit | default(0) }}",
        ),
        flow=("start -> large",),
    )
    done = shared_service.run(drawn, inputs={"total": 5, "limit": 4})
    logs = shared_service.rows(
        "SELECT resultDetail FROM execution_logs WHERE executionId=? AND nodeId='large'",
        done["executionId"],
    )
    assert '"conditionResult":true' in logs[0]["resultDetail"]


def test_invalid_expressions_are_reported_with_the_other_problems(shared_service: RunningService):
    body = {"deep": ["{{ fine }}", {"a/b": "{% ok %} {{ x.y() }} and {{ 2 ** 2 }}"}]}
    drawn = document(
        node("a", "trigger"),
        node(
            "b",
            "http",
            httpUrl="http://x/{{ id | uper }}",
            httpHeaders='{"X": "{{ k | default(\\"y\\") }}", "Y": "{{ [1] }}"}',
            httpBody=body,
            httpMethod="FETCH",
        ),
        node("c", "llm", prompt="{{ ok }} {{ a + b }}"),
        flow=("a -> b",),
    )
    response = shared_service.submit(shared_service.save(drawn))

    assert response.status_code == 422
    problems = [(e["code"], e["nodeId"], e["pointer"]) for e in response.json()["errors"]]
    assert sorted(problems) == [
        ("invalid_config", "b", "/nodes/1/config/httpMethod"),
        ("invalid_template", "b", "/nodes/1/config/httpBody/deep/1/a~1b"),
        ("invalid_template", "b", "/nodes/1/config/httpBody/deep/1/a~1b"),
        ("invalid_template", "b", "/nodes/1/config/httpHeaders"),
        ("invalid_template", "b", "/nodes/1/config/httpUrl"),
        ("invalid_template", "c", "/nodes/2/config/prompt"),
    ]
    detail = response.json()["detail"]
    assert "node 'b' (http): 'httpUrl'" in detail
    assert "'{{ id | uper }}' at character 10: unknown filter 'uper'" in detail
    assert "'httpBody.deep.1.a/b'" in detail
    assert "'{{ 2 ** 2 }}' at character 26" in detail


def test_a_pointer_is_of_the_spelling_that_was_sent(shared_service: RunningService):
    data = {"label": "Add", "fieldName": "x", "fieldValue": {"y": "{{ f(1) }}"}}
    drawn = {"nodes": [{"id": "n", "type": "addField", "data": data}], "edges": []}
    response = shared_service.submit(shared_service.save(drawn))

    (error,) = response.json()["errors"]
    assert (error["code"], error["pointer"]) == (
        "invalid_template",
        "/nodes/0/data/fieldValue/y",
    )


def test_fields_without_templates_are_not_parsed(shared_service: RunningService):
    drawn = document(
        node("typed", "manualInput", inputVarValue="{{ f(1) }}"),
        node("mine", "raise", message="{{ f(2) }}"),
    )
    done = shared_service.run(drawn)

    assert done["error"].endswith("RuntimeError: {{ f(2) }}")


def test_a_run_that_fails_names_node_field_and_what_is_missing(shared_service: RunningService):
    done = shared_service.run(document(add("n", "{{ nodes.lost.output }}")))

    assert done["error"] == (
        "Node 'n' failed: addFieldValue: node 'lost' has no output: "
        "no such node completed before this one"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ execution.id }}", "is not available outside an execution"),
        ("x {{ f() }}", "'{{ f() }}' at character 3: a call is not allowed"),
        (
            "{{ a | int }}",
            "addFieldValue: '{{ a | int }}' at character 1: the filter 'int' accepts",
        ),
    ],
)
def test_a_previewed_node_returns_the_same(
    shared_service: RunningService, value: str, expected: str
):
    shared_service.save(document(node("n")))
    body = {"workflowId": "w", "nodeId": "n", "nodeType": "addField", "inputData": {"a": "b"}}
    response = shared_service.http.post(
        "/api/nodes/execute", json={**body, "node": add("n", value)}
    ).json()

    assert response["success"] is False
    assert expected in response["error"]
