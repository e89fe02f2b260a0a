"""Results of http nodes in the templates of later nodes, and the status in a tolerated error."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.service import RunningService, wait_until


def add(node_id: str, value: Any) -> dict[str, Any]:
    return node(node_id, "addField", addFieldName=node_id, addFieldValue=value)


def http(node_id: str, url: str, **config: Any) -> dict[str, Any]:
    return node(node_id, "http", httpUrl=url, retries=0, **config)


def test_later_nodes_read_status_and_headers(shared_service: RunningService):
    drawn = document(
        http("call.one", f"{shared_service.url}/"),
        add("status", "{{ nodes.call.one.result.statusCode }}"),
        add("type", "{{ nodes.call.one.result.headers.content-type }}"),
        add("all", "{{ nodes['call.one'].result }}"),
        flow=("call.one -> status", "status -> type", "type -> all"),
    )
    done = shared_service.run(drawn)

    assert (done["status"], done["error"]) == ("completed", None)
    final = done["finalOutput"]["all"]
    assert final["status"] == 200
    assert final["type"].startswith("application/json")
    assert final["all"]["headers"]["content-type"] == final["type"]
    assert "outputData" not in final["all"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nodes.call.result.nope", "the result of node 'call' has no field 'nope'"),
        ("nodes.nope.result.statusCode", "node 'nope' has no result"),
        ("nodes.call.statusCode", "should be nodes.<id>.output or nodes.<id>.result"),
    ],
)
def test_a_missing_part_is_an_error_that_names_it(
    shared_service: RunningService, name: str, reason: str
):
    drawn = document(
        http("call", f"{shared_service.url}/"), add("a", f"{{{{ {name} }}}}"), flow=("call -> a",)
    )
    assert reason in shared_service.run(drawn)["error"]


@pytest.mark.parametrize("mode", ["continue", "branch"])
def test_a_tolerated_error_has_the_status(shared_service: RunningService, mode: str):
    drawn = document(
        http("call", f"{shared_service.url}/nothing-here", onError=mode),
        add("seen", "{{ error.statusCode }} {{ nodes.call.result.statusCode }}"),
        flow=("call -error-> seen",),
    )
    done = shared_service.run(drawn)

    error = done["finalOutput"]["seen"]["error"]
    assert (error["nodeId"], error["statusCode"]) == ("call", 404)
    assert "returned 404" in error["message"]
    assert done["finalOutput"]["seen"]["seen"] == "404 404"


def test_an_error_without_a_response_has_no_status(shared_service: RunningService):
    drawn = document(http("call", "http://127.0.0.1:1/", onError="continue"))
    done = shared_service.run(drawn)
    assert set(done["finalOutput"]["call"]["error"]) == {"nodeId", "message"}


@on_both()
def test_status_and_headers_are_available_after_a_restart(tmp_path: Path, storage: Storage):
    with RunningService(tmp_path, **storage) as service:
        drawn = document(
            http("good", f"{service.url}/"),
            http("bad", f"{service.url}/nothing-here", onError="continue"),
            node("ask", "approval", approvalMessage="Go on?"),
            add("good", "{{ nodes.good.result.statusCode }}") | {"id": "a"},
            add("bad", "{{ nodes.bad.result.statusCode }}") | {"id": "b"},
            node("end"),
            flow=("good -> ask", "ask -> a", "a -> b", "bad -> end", "b -> end"),
        )
        execution_id = service.start(drawn)
        wait_until(lambda: service.poll(execution_id)["status"] == "waiting")
    with RunningService(tmp_path, **storage) as service:
        url = f"/api/executions/{execution_id}/nodes/ask/resume"
        assert service.http.post(url, json={"approved": True}).status_code == 200
        done = service.ended(execution_id)
    assert (done["status"], done["error"]) == ("completed", None)
    assert (done["finalOutput"]["good"], done["finalOutput"]["bad"]) == (200, 404)
    assert done["finalOutput"]["error"]["statusCode"] == 404
