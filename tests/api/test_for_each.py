"""Loops: run a part of the graph for each item of a list."""

from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService, wait_until

pytestmark = pytest.mark.behavior


def loop(*inner: dict[str, Any], flow: tuple[str, ...], **config: object) -> dict[str, Any]:
    """Return a document with a trigger, a loop over its ``rows``, and an output."""
    return document(
        node("start", "trigger"),
        node("each", "forEach", forEachItems="{{ rows }}", **config),
        *inner,
        node("end"),
        flow=("start -> each", "each -done-> end", *flow),
    )


GREET = loop(
    node(
        "greet",
        "addField",
        addFieldName="text",
        addFieldValue="{{ loop.number }} of {{ loop.count }}: {{ name }}",
    ),
    flow=("each -item-> greet",),
)
NAMES = [{"name": "Ada"}, {"name": "Grace"}, {"name": "Mary"}]


@pytest.mark.essential
def test_the_body_runs_for_each_item_and_the_results_come_in_order(
    service: RunningService,
) -> None:
    ended = service.run(GREET, inputs={"rows": NAMES})
    assert ended["status"] == "completed"
    assert ended["finalOutput"] == [
        {"name": "Ada", "text": "1 of 3: Ada"},
        {"name": "Grace", "text": "2 of 3: Grace"},
        {"name": "Mary", "text": "3 of 3: Mary"},
    ]
    logs = service.logs(ended["executionId"])
    assert [key for key in logs if key.startswith("greet")] == [
        "greet[0]",
        "greet[1]",
        "greet[2]",
        "greet",
    ]
    assert logs["greet[1]"]["inputData"] == {"name": "Grace"}
    assert logs["greet"]["outputData"] == {"items": 3, "completed": 3, "skipped": 0}
    assert logs["each"]["status"] == "completed"
    assert logs["each"]["outputData"] == ended["finalOutput"]
    assert ended["progress"] == {
        "totalNodes": 4,
        "completedNodes": 4,
        "failedNodes": 0,
        "skippedNodes": 0,
        "percentage": 100,
    }


def test_an_empty_list_skips_the_body(service: RunningService) -> None:
    ended = service.run(GREET, inputs={"rows": []})
    assert ended["status"] == "completed"
    assert ended["finalOutput"] == []
    assert service.logs(ended["executionId"])["greet"]["status"] == "skipped"
    assert ended["progress"]["percentage"] == 100
    assert ended["progress"]["skippedNodes"] == 1


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_number_of_concurrent_items_is_the_maximum(
    service: RunningService, gates: Gates, at_once: int
) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",), forEachConcurrency=at_once)
    execution_id = service.start(held, inputs={"rows": list(range(5))})
    for item in range(5):
        under_way = [f"held[{i}]" for i in range(min(5, item + at_once))]
        gates.wait_for(*under_way)
        assert sorted(gates.runs) == under_way
        gates.open(f"held[{item}]")
        wait_until(lambda i=item: _is_done(service, execution_id, f"held[{i}]"))
    assert service.ended(execution_id)["finalOutput"] == list(range(5))


def _is_done(service: RunningService, execution_id: str, node_id: str) -> bool:
    return service.logs(execution_id)[node_id]["status"] == "completed"


def test_results_are_in_the_order_of_the_items(service: RunningService, gates: Gates) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",), forEachConcurrency=3)
    execution_id = service.start(held, inputs={"rows": ["a", "b", "c"]})
    for item in (2, 0, 1):
        gates.wait_for(f"held[{item}]")
        gates.open(f"held[{item}]")
        wait_until(lambda i=item: _is_done(service, execution_id, f"held[{i}]"))
    assert service.ended(execution_id)["finalOutput"] == ["a", "b", "c"]


BRANCHES = loop(
    node("adult", "condition", conditionField="age", conditionOperator="greaterOrEqual",
         conditionValue=18),
    node("yes", "addField", addFieldName="may", addFieldValue=True),
    node("no", "addField", addFieldName="may", addFieldValue=False),
    node("after", "addField", addFieldName="seen", addFieldValue="{{ nodes.adult.output.age }}"),
    flow=(
        "each -item-> adult",
        "adult -true-> yes",
        "adult -false-> no",
        "yes -> after",
        "no -> after",
    ),
)  # fmt: skip


def test_a_body_branches_for_each_item_by_itself(service: RunningService) -> None:
    ended = service.run(BRANCHES, inputs={"rows": [{"age": 30}, {"age": 3}]})
    assert ended["finalOutput"] == [
        {"age": 30, "may": True, "seen": 30},
        {"age": 3, "may": False, "seen": 3},
    ]
    logs = service.logs(ended["executionId"])
    assert logs["no[0]"]["status"] == "skipped"
    assert logs["yes[1]"]["status"] == "skipped"
    assert logs["no"]["outputData"] == {"items": 2, "completed": 1, "skipped": 1}


FAILING = {
    "inner": (
        node("pick", "condition", conditionField="ok", conditionValue=True),
        node("fine"),
        node("broken", "raise", message="no such row"),
    ),
    "flow": ("each -item-> pick", "pick -true-> fine", "pick -false-> broken"),
}
ROWS = [{"ok": True}, {"ok": False}, {"ok": True}]


def test_an_item_that_fails_fails_the_loop_and_names_node_and_item(
    service: RunningService,
) -> None:
    ended = service.run(loop(*FAILING["inner"], flow=FAILING["flow"]), inputs={"rows": ROWS})
    assert ended["status"] == "failed"
    assert ended["error"] == (
        "Node 'each' failed: item 1: Node 'broken' failed: RuntimeError: no such row"
    )
    logs = service.logs(ended["executionId"])
    assert logs["each"]["status"] == "error"
    assert "pick[2]" not in logs
    assert service.rows("SELECT * FROM execution_logs WHERE status IN ('running', 'waiting')") == []


def test_other_items_continue_if_the_loop_allows_failures(service: RunningService) -> None:
    tolerant = loop(*FAILING["inner"], flow=FAILING["flow"], forEachOnError="continue")
    ended = service.run(tolerant, inputs={"rows": ROWS})
    assert ended["status"] == "completed"
    assert ended["finalOutput"] == [
        {"ok": True},
        {
            "error": {
                "nodeId": "each",
                "item": 1,
                "message": "Node 'broken' failed: RuntimeError: no such row",
            }
        },
        {"ok": True},
    ]
    logs = service.logs(ended["executionId"])
    assert logs["broken"]["status"] == "error"
    assert "broken[1]" in logs["broken"]["error"]
    assert ended["progress"]["failedNodes"] == 1
    assert ended["progress"]["percentage"] == 100


def test_a_loop_that_fails_may_be_tolerated_like_any_node(service: RunningService) -> None:
    tolerated = loop(*FAILING["inner"], flow=FAILING["flow"], onError="continue")
    ended = service.run(tolerated, inputs={"rows": ROWS})
    assert ended["status"] == "completed"
    assert ended["finalOutput"]["error"]["nodeId"] == "each"


NESTED = loop(
    node("inner", "forEach", forEachItems="{{ cells }}", forEachConcurrency=2),
    node(
        "mark",
        "addField",
        addFieldName="at",
        addFieldValue="{{ loop.outer.index }}.{{ loop.index }} of {{ loop.outer.item.name }}",
    ),
    node("row", "addField", addFieldName="x", addFieldValue="{{ nodes.inner.output | length }}"),
    flow=("each -item-> inner", "inner -item-> mark", "inner -> row", "each -item-> row"),
)


def test_loops_may_be_nested(service: RunningService) -> None:
    rows = [{"name": "one", "cells": [{}, {}]}, {"name": "two", "cells": [{}]}]
    bare = loop(
        *(n for n in NESTED["nodes"] if n["id"] in ("inner", "mark")),
        flow=("each -item-> inner", "inner -item-> mark"),
    )
    ended = service.run(bare, inputs={"rows": rows})
    assert ended["finalOutput"] == [
        [{"at": "0.0 of one"}, {"at": "0.1 of one"}],
        [{"at": "1.0 of two"}],
    ]
    assert {"mark[0][1]", "mark[1]", "mark", "inner[1]", "inner"} <= service.logs(
        ended["executionId"]
    ).keys()
    assert ended["progress"]["percentage"] == 100


def test_a_loop_reports_the_number_of_finished_items(service: RunningService, gates: Gates) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",))
    execution_id = service.start(held, inputs={"rows": list(range(4))})
    gates.wait_for("held[0]")
    said = service.logs(execution_id)["each"]
    assert (said["status"], said["message"]) == ("waiting", "Runs for 4 items")
    gates.open("held[0]")
    gates.wait_for("held[1]")
    wait_until(lambda: service.logs(execution_id)["each"]["percentage"])
    said = service.logs(execution_id)["each"]
    assert (said["percentage"], said["message"]) == (25, "1 of 4 items are done")
    gates.open("held[1]", "held[2]", "held[3]")
    service.ended(execution_id)
    said = service.logs(execution_id)["each"]
    assert (said["percentage"], said["message"]) == (None, None)


def test_items_that_are_not_a_list_fail_the_loop_with_their_type(service: RunningService) -> None:
    ended = service.run(GREET, inputs={"rows": "Ada"})
    assert ended["status"] == "failed"
    assert ended["error"] == "Node 'each' failed: forEachItems is of type string, not a list"


def test_a_connection_into_a_loop_from_outside_is_rejected(service: RunningService) -> None:
    crossing = loop(node("greet"), flow=("each -item-> greet", "start -> greet"))
    response = service.submit(service.save(crossing))
    assert response.status_code == 422
    (problem,) = response.json()["errors"]
    assert problem["code"] == "invalid_loop_entry"
    assert problem["connectionId"] == "c3"
    assert problem["pointer"] == "/connections/3"
    assert "{{ nodes.start.output }}" in problem["detail"]


@on_both()
def test_a_loop_requests_an_approval_for_each_item(service: RunningService) -> None:
    asking = loop(
        node("ask", "approval", approvalMessage="{{ name }}?"),
        node("sent", "addField", addFieldName="sent", addFieldValue=True),
        flow=("each -item-> ask", "ask -true-> sent"),
        forEachConcurrency=2,
    )
    execution_id = service.start(asking, inputs={"rows": NAMES})
    for item, approved in ((1, False), (0, True), (2, True)):
        waiting = f"ask[{item}]"
        wait_until(
            lambda key=waiting: service.logs(execution_id).get(key, {}).get("status") == "waiting"
        )
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
        response = service.http.post(
            f"/api/executions/{execution_id}/nodes/{waiting}/resume", json={"approved": approved}
        )
        assert response.status_code == 200, response.text
    ended = service.ended(execution_id)
    assert ended["finalOutput"] == [
        {"name": "Ada", "sent": True},
        {"name": "Grace"},
        {"name": "Mary", "sent": True},
    ]


def test_a_loop_itself_cannot_be_resumed(service: RunningService, gates: Gates) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",))
    execution_id = service.start(held, inputs={"rows": [1]})
    gates.wait_for("held[0]")
    response = service.http.post(f"/api/executions/{execution_id}/nodes/each/resume", json={})
    assert response.status_code == 409
    gates.open("held[0]")
    assert service.ended(execution_id)["status"] == "completed"


def test_cancelling_stops_the_items(service: RunningService, gates: Gates) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",), forEachConcurrency=2)
    execution_id = service.start(held, inputs={"rows": [1, 2, 3]})
    gates.wait_for("held[0]", "held[1]")
    service.http.post(f"/api/executions/{execution_id}/cancel")
    assert service.ended(execution_id)["status"] == "cancelled"
    assert sorted(gates.left) == ["held[0]", "held[1]"]
    statuses = {log["status"] for log in service.logs(execution_id).values()}
    assert statuses == {"completed", "cancelled"}


def test_a_failed_loop_ends_the_waits_inside_it(service: RunningService, gates: Gates) -> None:
    mixed = loop(
        node("pick", "condition", conditionField="ok", conditionValue=True),
        node("ask", "approval"),
        node("broken", "gate", timeoutSeconds=0.2),
        flow=("each -item-> pick", "pick -true-> ask", "pick -false-> broken"),
        forEachConcurrency=2,
        onError="continue",
    )
    ended = service.run(mixed, inputs={"rows": ROWS[:2]})
    assert ended["status"] == "completed"
    logs = service.logs(ended["executionId"])
    assert logs["ask[0]"]["status"] == "cancelled"
    assert "failed" in logs["ask[0]"]["error"]


def test_the_time_limit_is_for_all_items(service: RunningService, gates: Gates) -> None:
    held = loop(node("held", "gate"), flow=("each -item-> held",), timeoutSeconds=0.3)
    execution_id = service.start(held, inputs={"rows": [1]})
    wait_until(lambda: service.logs(execution_id).get("each", {}).get("status") == "error")
    gates.open("held[0]")
    ended = service.ended(execution_id)
    assert ended["status"] == "failed"
    assert ended["error"] == "Node 'each' failed: the items took longer than 0.3 s"


def test_a_rerun_continues_with_the_unfinished_items(service: RunningService, gates: Gates) -> None:
    failing_once = loop(
        node("count", "flaky", failures=1, name="the second item"),
        node("pick", "condition", conditionField="again", conditionValue=True),
        node("visited", "gate"),
        flow=("each -item-> visited", "visited -> pick", "pick -true-> count"),
    )
    gates.open("visited[0]", "visited[1]")
    first = service.run(failing_once, inputs={"rows": [{"again": False}, {"again": True}]})
    assert first["status"] == "failed"
    response = service.http.post(f"/api/executions/{first['executionId']}/rerun", json={})
    second = service.ended(response.json()["executionId"])
    assert second["status"] == "completed"
    assert second["finalOutput"] == [{"again": False}, {"attempt": 2}]
    assert gates.runs.count("visited[0]") == 1
    assert gates.runs.count("visited[1]") == 1
    taken = service.logs(second["executionId"])["visited[0]"]
    assert taken["reusedFrom"] == first["executionId"]


def test_other_workflows_are_called_for_each_item(service: RunningService) -> None:
    service.save(
        document(
            node("begin", "trigger"),
            node("double", "addField", addFieldName="text", addFieldValue="{{ name }} again"),
            flow=("begin -> double",),
        ),
        "called",
    )
    calling = loop(
        node("call", "subworkflow", subworkflowId="called"),
        flow=("each -item-> call",),
        forEachConcurrency=2,
    )
    ended = service.run(calling, inputs={"rows": NAMES})
    assert ended["status"] == "completed", ended["error"]
    assert [item["double"]["text"] for item in ended["finalOutput"]] == [
        "Ada again",
        "Grace again",
        "Mary again",
    ]
    calls = [service.logs(ended["executionId"])[f"call[{i}]"] for i in range(3)]
    assert len({call["childExecutionId"] for call in calls}) == 3


def test_children_of_a_failed_loop_are_cancelled(service: RunningService, gates: Gates) -> None:
    service.save(document(node("held", "gate")), "called")
    mixed = loop(
        node("pick", "condition", conditionField="ok", conditionValue=True),
        node("call", "subworkflow", subworkflowId="called"),
        node("broken", "gate"),
        node("after", "raise"),
        flow=("each -item-> pick", "pick -true-> call", "pick -false-> broken", "broken -> after"),
        forEachConcurrency=2,
        onError="continue",
    )
    execution_id = service.start(mixed, inputs={"rows": ROWS[:2]})
    gates.wait_for("held", "broken[1]")
    gates.open("broken[1]")
    assert service.ended(execution_id)["status"] == "completed"
    call = service.logs(execution_id)["call[0]"]
    assert call["status"] == "cancelled"
    assert service.ended(call["childExecutionId"])["status"] == "cancelled"
    assert gates.left == ["held"]
