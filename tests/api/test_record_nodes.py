"""Record nodes: run in a service."""

from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService

ORDERS = [
    {"id": 1, "name": "Ada Lovelace", "city": "London", "total": 10},
    {"id": 2, "name": "Alan Turing", "city": "London", "total": "2.5"},
    {"id": 3, "name": "Emmy Noether", "city": "Erlangen", "total": 7},
]


def run(service: RunningService, drawn: dict[str, Any]) -> dict[str, Any]:
    workflow = document(
        node("start", "trigger"), drawn, node("end"), flow=("start -> work", "work -> end")
    )
    return service.run(workflow, inputs={"start": ORDERS})


@pytest.mark.parametrize(
    ("drawn", "output"),
    [
        (
            node(
                "work",
                "splitText",
                splitField="name",
                splitSeparator=" ",
                splitInto="first, last",
                splitKeepSource=False,
            ),
            [
                {"id": 1, "first": "Ada", "last": "Lovelace", "city": "London", "total": 10},
                {"id": 2, "first": "Alan", "last": "Turing", "city": "London", "total": "2.5"},
                {"id": 3, "first": "Emmy", "last": "Noether", "city": "Erlangen", "total": 7},
            ],
        ),
        (
            node("work", "renameColumns", renameMapping={"total": "amount", "city": "place"}),
            [
                {"id": row["id"], "name": row["name"], "place": row["city"], "amount": row["total"]}
                for row in ORDERS
            ],
        ),
        (
            node(
                "work",
                "filter",
                conditionField="total",
                conditionOperator="greaterThan",
                conditionValue=5,
            ),
            [ORDERS[0], ORDERS[2]],
        ),
        (
            node(
                "work",
                "aggregate",
                aggregateGroupBy="city",
                aggregateOperations=[{"operation": "sum", "field": "total", "as": "sold"}],
            ),
            [{"city": "London", "sold": 12.5}, {"city": "Erlangen", "sold": 7}],
        ),
    ],
    ids=["splitText", "renameColumns", "filter", "aggregate"],
)
def test_a_node_for_records_runs_in_the_service(
    shared_service: RunningService, drawn: dict[str, Any], output: Any
):
    done = run(shared_service, drawn)
    assert (done["status"], done["error"]) == ("completed", None)
    assert done["finalOutput"] == output


def test_the_error_of_the_execution_names_node_record_and_field(shared_service: RunningService):
    done = run(shared_service, node("work", "renameColumns", renameMapping={"nope": "x"}))
    assert done["status"] == "failed"
    assert done["error"].startswith("Node 'work' failed: record 0: no field 'nope'")


def test_an_invalid_config_of_a_record_node_is_rejected(shared_service: RunningService):
    drawn = document(node("start", "trigger"), node("f", "filter"), flow=("start -> f",))
    response = shared_service.submit(shared_service.save(drawn, "refused"))
    assert response.status_code == 422
    assert "node 'f' (filter): 'conditionField' is required" in response.json()["detail"]
