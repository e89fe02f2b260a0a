"""Meaning of documents: ports, duplicate connections, and remains of the editor."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.service import RunningService, wait_until

ORDER = {
    "nodes": [
        {"id": "1", "type": "manualInput", "data": {"inputVarName": "qty", "inputVarValue": 0}},
        {
            "id": "2",
            "type": "condition",
            "data": {
                "conditionField": "qty",
                "conditionOperator": "greaterThan",
                "conditionValue": 10,
            },
        },
        {
            "id": "3",
            "type": "addField",
            "data": {"addFieldName": "order", "addFieldValue": "placed"},
        },
        {"id": "4", "type": "addField", "data": {"addFieldName": "order", "addFieldValue": "none"}},
    ],
    "edges": [
        {"id": "a", "source": "1", "target": "2"},
        {"id": "b", "source": "2", "target": "3"},
        {"id": "c", "source": "2", "target": "4"},
    ],
}


def order(yes: Any, no: Any) -> dict[str, Any]:
    first, second, third = ORDER["edges"]
    handles = ({**second, "sourceHandle": yes}, {**third, "sourceHandle": no})
    return {**ORDER, "edges": [first, *handles]}


def validated(service: RunningService, graph: Any) -> dict[str, Any]:
    response = service.http.post("/api/workflows/validate", json={"graph": graph})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    ("yes", "no"), [("yes", "no"), ("True", "False"), ("then", "else"), (True, False), (1, 0)]
)
def test_only_the_branch_that_was_chosen_runs_whatever_its_handle_is_called(
    shared_service: RunningService, yes: Any, no: Any
):
    ended = shared_service.run(order(yes, no))
    assert ended["finalOutput"] == {"4": {"qty": 0, "order": "none"}}
    assert shared_service.logs(ended["executionId"])["3"]["status"] == "skipped"


def test_an_unknown_handle_is_rejected_and_nothing_is_stored(service: RunningService):
    response = service.submit(service.save(order("maybe", "no")))
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error == {
        "code": "unknown_port",
        "detail": "connection 'b': node '2' (condition) has no output 'maybe'; known are: true, "
        "false, error",
        "pointer": "/edges/1/sourceHandle",
        "nodeId": "2",
        "connectionId": "b",
    }
    assert service.rows("SELECT id FROM workflow_executions") == []


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (node("sum", "aggregate", aggregations=[{"operation": "sum", "field": "n"}]), 3),
        (node("sum", "join"), [{"n": 1}, {"n": 2}]),
    ],
    ids=["aggregate", "join"],
)
@pytest.mark.parametrize("again", [{}, {"outputType": "output"}, {"id": "another"}])
def test_a_connection_that_is_drawn_twice_brings_its_data_once(
    shared_service: RunningService, last: dict[str, Any], expected: Any, again: dict[str, Any]
):
    drawn = document(node("start", "trigger"), last, flow=("start -> sum",))
    (connection,) = drawn["connections"]
    ended = shared_service.run(
        {**drawn, "connections": [connection, {**connection, **again}]},
        inputs={"start": [{"n": 1}, {"n": 2}]},
    )
    output = ended["finalOutput"]["sum"]
    assert (output[0]["sum_n"] if last["type"] == "aggregate" else output) == expected
    assert ended["progress"]["totalNodes"] == 2


def test_a_connection_into_a_loop_that_is_drawn_twice_runs_its_body_once(
    shared_service: RunningService,
):
    drawn = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}"),
        node("sum", "aggregate", aggregations=[{"operation": "sum", "field": "n"}]),
        node("all", "aggregate", aggregations=[{"operation": "count"}]),
        flow=("start -> each", "each -item-> sum", "each -Loop-> sum", "each -done-> all",
              "each -> all"),
    )  # fmt: skip
    ended = shared_service.run(drawn, inputs={"rows": [[{"n": 1}, {"n": 2}], [{"n": 5}]]})
    logs = shared_service.logs(ended["executionId"])
    assert logs["sum[0]"]["outputData"] == [{"sum_n": 3}]
    assert logs["all"]["inputData"] == [[{"sum_n": 3}], [{"sum_n": 5}]]
    assert ended["progress"]["totalNodes"] == 4


# Remains of the editor


def test_a_blank_row_and_a_node_that_is_not_configured_are_left_out(
    shared_service: RunningService,
):
    drawn = document(
        node("start", "trigger"),
        node(
            "check",
            "condition",
            conditionField="n",
            conditionValue=1,
            additionalConditions=[{"field": "", "operator": "equals", "value": ""}, {}],
        ),
        node("dropped", "http", httpUrl="", httpHeaders=[{"key": "", "value": ""}]),
        {"id": "frame", "type": "group", "position": {"x": 0, "y": 0}},
        {"id": "inside", "type": "output", "parentId": "frame", "extent": "parent"},
        flow=("start -> check", "check -true-> inside"),
    )
    found = validated(shared_service, drawn)
    assert (found["valid"], found["errors"]) == (True, [])
    assert [(w["code"], w["nodeId"], w["pointer"]) for w in found["warnings"]] == [
        ("unused_node", "dropped", "/nodes/2"),
        ("group_node", "frame", "/nodes/3"),
    ]
    ended = shared_service.run(drawn, inputs={"n": 1})
    assert (ended["status"], ended["finalOutput"]) == ("completed", {"n": 1})
    assert ended["progress"]["totalNodes"] == 3
    assert set(shared_service.logs(ended["executionId"])) == {"start", "check", "inside"}


def test_a_root_that_is_configured_runs_without_connections(shared_service: RunningService):
    drawn = document(
        node("start", "trigger"),
        node("alone", "addField", addFieldName="a", addFieldValue=1),
    )
    assert validated(shared_service, drawn)["warnings"] == []
    assert shared_service.run(drawn)["finalOutput"] == {"start": {}, "alone": {"a": 1}}


# Disabled nodes


@pytest.mark.parametrize(
    "place",
    [
        lambda n: {**n, "disabled": True},
        lambda n: {"id": n["id"], "type": n["type"], "data": {**n["config"], "disabled": True}},
        lambda n: {**n, "config": {**n["config"], "disabled": True}},
    ],
    ids=["node", "data", "config"],
)
def test_a_disabled_node_passes_its_input_on(shared_service: RunningService, place: Any):
    drawn = document(
        node("start", "trigger"),
        place(node("off", "http", httpUrl="not a url")),
        node("end"),
        flow=("start -> off", "off -> end"),
    )
    ended = shared_service.run(drawn, inputs={"n": 1})
    assert (ended["status"], ended["finalOutput"]) == ("completed", {"n": 1})
    assert ended["progress"]["completedNodes"] == ended["progress"]["totalNodes"] == 3
    log = shared_service.logs(ended["executionId"])["off"]
    assert (log["nodeType"], log["status"], log["outputData"]) == ("http", "completed", {"n": 1})


def test_a_disabled_webhook_has_no_address_and_a_disabled_trigger_starts_nothing(
    service: RunningService,
):
    off = document(
        {**node("hook", "webhook"), "disabled": True},
        node("start", "trigger"),
        node("end"),
        flow=("hook -> end", "start -> end"),
    )
    service.save(off)
    assert service.http.post("/api/webhook/w", json={"n": 1}).status_code == 404
    assert service.run(off, inputs={"n": 2})["finalOutput"] == {"n": 2}
    off["nodes"][1]["disabled"] = True
    response = service.submit(service.save(off))
    assert response.status_code == 422
    assert [(e["code"], e["detail"]) for e in response.json()["errors"]] == [
        ("no_entry_node", "the workflow has no entry node: 'hook', 'start' is disabled")
    ]


# Columns


SPLIT = document(
    node("start", "trigger"),
    node("split", "splitColumns", columnsOutputA=["id", "name"], columnsOutputB="id, price"),
    node("hold", "approval"),
    node("a"),
    node("b"),
    flow=("start -> split", "split -A-> a", "split -B-> hold", "hold -approved-> b"),
)
ROWS = [{"id": 1, "name": "Tea", "price": 4}, {"id": 2, "name": "Jam", "price": 3}]
PRICES = [{"id": 1, "price": 4}, {"id": 2, "price": 3}]


@on_both()
def test_each_output_of_split_columns_gets_its_columns_of_every_record(service: RunningService):
    execution_id = service.start(SPLIT, inputs={"start": ROWS})
    wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    response = service.http.post(f"/api/executions/{execution_id}/nodes/hold/resume", json={})
    assert response.status_code == 200, response.text
    ended = service.ended(execution_id)
    assert ended["finalOutput"] == {"a": [{"id": 1, "name": "Tea"}, {"id": 2, "name": "Jam"}],
                                    "b": PRICES}  # fmt: skip
    body = {"fromNodeId": "a"}
    again = service.http.post(f"/api/executions/{execution_id}/rerun", json=body).json()
    assert service.ended(again["executionId"])["finalOutput"] == ended["finalOutput"]


def test_outputs_of_each_port_survive_a_restart(tmp_path: Path):
    drawn = document(
        *SPLIT["nodes"],
        node("late", "join"),
        flow=("start -> split", "split -A-> hold", "hold -> late:A", "split -B-> late:B"),
    )
    with RunningService(tmp_path) as service:
        execution_id = service.start(drawn, inputs={"start": ROWS})
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with RunningService(tmp_path) as service:
        resumed = service.http.post(f"/api/executions/{execution_id}/nodes/hold/resume", json={})
        assert resumed.status_code == 200, resumed.text
        service.ended(execution_id)
        assert service.logs(execution_id)["late"]["inputData"] == {
            "A": [{"id": 1, "name": "Tea"}, {"id": 2, "name": "Jam"}],
            "B": PRICES,
        }


# Conditions


@pytest.mark.parametrize("field", ["loop.item", "{{ loop.item }}", "{{ input }}"])
def test_a_condition_on_the_loop_item_chooses_the_branch(
    shared_service: RunningService, field: str
):
    test = {"conditionField": field, "conditionOperator": "endsWith", "conditionValue": "x.org"}
    drawn = document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems=["a@x.org", "b@y.org"]),
        node("ours", "condition", **test),
        node("in"),
        node("out"),
        flow=("start -> each", "each -item-> ours", "ours -true-> in", "ours -false-> out"),
    )
    ended = shared_service.run(drawn)
    logs = shared_service.logs(ended["executionId"])
    assert {key: log["status"] for key, log in logs.items() if key.startswith(("in[", "out["))} == {
        "in[0]": "completed",
        "out[0]": "skipped",
        "in[1]": "skipped",
        "out[1]": "completed",
    }


def test_the_catalogue_lists_ports_with_their_other_names(shared_service: RunningService):
    types = {item["type"]: item for item in shared_service.http.get("/api/node-types").json()}
    ports = types["approval"]["ports"]
    assert types["approval"]["outputs"] == ["true", "false"]
    assert [port["name"] for port in ports["outputs"]] == ["true", "false", "error"]
    assert {"approved", "yes"} <= set(ports["outputs"][0]["aliases"])
    assert ports["outputs"][1]["title"] == "Rejected"
    assert [port["name"] for port in types["join"]["ports"]["inputs"]] == ["A", "B"]
