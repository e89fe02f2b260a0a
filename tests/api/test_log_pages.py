"""Large responses: paged logs, payloads on request, and truncated results."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import document, line, node
from tests.support.postgres import on_both
from tests.support.reused_service import ReusedService
from tests.support.service import RunningService

PAYLOAD = "x" * 30_000
LIMITS: dict[str, Any] = {"max_logs_page_size": 20, "max_response_characters": 100_000}


@pytest.fixture(scope="module")
def reused_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReusedService]:
    """The service of ``service``, with small limits."""
    reused = ReusedService(tmp_path_factory.mktemp("limited"), **LIMITS)
    yield reused
    reused.stop()


def pages(service: RunningService, execution_id: str, **query: Any) -> list[dict[str, Any]]:
    """Return every page of the logs of an execution."""
    found: list[dict[str, Any]] = []
    after = 0
    while not found or found[-1]["hasMore"]:
        response = service.http.get(
            f"/api/executions/{execution_id}/logs", params={**query, "afterSeq": after}
        )
        assert response.status_code == 200, response.text
        found.append(response.json())
        after = found[-1]["nextSeq"]
    return found


def rows(found: list[dict[str, Any]]) -> list[str]:
    return [log["nodeId"] for page in found for log in page["logs"]]


@on_both()
def test_pages_of_payloads_are_bounded_and_contain_every_row_once(service: RunningService):
    execution = service.run(line(10), inputs={"text": PAYLOAD})
    execution_id = execution["executionId"]
    found = pages(service, execution_id)
    assert len(found) > 1
    assert rows(found) == list(service_rows(service, execution_id))
    for page in found:
        payloads = [log[name] for log in page["logs"] for name in ("inputData", "outputData")]
        size = sum(len(json.dumps(payload)) for payload in payloads if payload is not None)
        assert size <= LIMITS["max_response_characters"] or len(page["logs"]) == 1
    first = found[0]["logs"][0]
    assert first["outputData"]["text"] == PAYLOAD
    assert [page["hasMore"] for page in found] == [True] * (len(found) - 1) + [False]


def service_rows(service: RunningService, execution_id: str) -> Iterator[str]:
    sql = "SELECT nodeId FROM execution_logs WHERE executionId=? ORDER BY startSeq"
    for row in service.rows(sql, execution_id):
        yield row[0]


@on_both()
def test_a_page_has_at_most_limit_rows_in_the_order_of_start(service: RunningService):
    execution_id = service.run(line(10))["executionId"]
    first = service.http.get(f"/api/executions/{execution_id}/logs", params={"limit": 3}).json()
    assert first["hasMore"] is True
    expected = list(service_rows(service, execution_id))
    assert rows([first]) == expected[:3]
    assert rows(pages(service, execution_id, limit=3)) == expected


def test_parallel_nodes_are_paged_without_loss_and_without_copies(service: RunningService):
    nodes = [node("start", "trigger"), *(node(f"n{i}") for i in range(30))]
    execution_id = service.run(
        document(*nodes, flow=tuple(f"start -> n{i}" for i in range(30))), inputs={}
    )["executionId"]
    found = rows(pages(service, execution_id, limit=4))
    assert sorted(found) == sorted(one["id"] for one in nodes)


def test_after_the_last_page_only_later_changes_are_returned(service: RunningService):
    execution_id = service.run(line(3))["executionId"]
    last = pages(service, execution_id)[-1]
    again = service.http.get(
        f"/api/executions/{execution_id}/logs", params={"afterSeq": last["nextSeq"]}
    ).json()
    assert (again["logs"], again["hasMore"]) == ([], False)


def test_a_row_larger_than_a_page_is_returned_alone_and_complete(service: RunningService):
    text = "y" * 400_000
    execution_id = service.run(line(2), inputs={"text": text})["executionId"]
    found = pages(service, execution_id)
    assert [len(page["logs"]) for page in found] == [1, 1]
    assert found[1]["logs"][0]["outputData"]["text"] == text


@on_both()
def test_rows_without_payloads_and_the_payloads_of_one_node(service: RunningService):
    execution_id = service.run(line(10), inputs={"text": PAYLOAD})["executionId"]
    path = f"/api/executions/{execution_id}/logs"
    light = service.http.get(path, params={"payloads": "false"})
    assert len(light.content) < 20_000
    shown = light.json()["logs"]
    assert rows([light.json()]) == list(service_rows(service, execution_id))
    end = shown[-1]
    assert end["outputData"] == {
        "truncated": True,
        "size": end["outputData"]["size"],
        "preview": "",
    }
    assert end["outputData"]["size"] > len(PAYLOAD)
    (one,) = service.http.get(path, params={"nodeId": end["nodeId"]}).json()["logs"]
    assert one["outputData"]["text"] == PAYLOAD
    assert service.http.get(path, params={"nodeId": "nope"}).json()["logs"] == []


@on_both()
def test_only_the_start_of_a_payload_above_the_requested_size_is_read(service: RunningService):
    small, large = "s" * 2_000, "l" * 400_000
    add = node("add", "addField", addFieldName="more", addFieldValue=large)
    graph = document(node("start", "trigger"), add, flow=("start -> add",))
    execution_id = service.run(graph, inputs={"text": small})["executionId"]
    path = f"/api/executions/{execution_id}"

    def added(most: int) -> dict[str, Any]:
        query = {"nodeId": "add", "maxPayloadCharacters": most}
        response = service.http.get(f"{path}/logs", params=query)
        (found,) = response.json()["logs"]
        return found

    size = len(json.dumps({"text": small, "more": large}, separators=(",", ":")))
    found = added(size - 1)
    assert found["inputData"] == {"text": small}
    assert found["outputData"]["truncated"] is True
    assert found["outputData"]["size"] == size
    assert found["outputData"]["preview"].startswith('{"text":"sss')
    assert len(found["outputData"]["preview"]) == 8_192
    assert added(size)["outputData"] == {"text": small, "more": large}
    assert len(added(100)["inputData"]["preview"]) == 100

    # Pages contain as many rows as fit with the starts, of which each has 8,192 characters.
    light = {"maxPayloadCharacters": 3_000}
    assert len(pages(service, execution_id, **light)) == 1
    result = service.http.get(path, params=light)
    assert result.json()["finalOutput"]["size"] > size
    assert len(result.json()["finalOutput"]["preview"]) == 3_000
    other = service.http.get(path, headers={"If-None-Match": result.headers["ETag"]})
    assert other.status_code == 200
    same = {"If-None-Match": result.headers["ETag"]}
    assert service.http.get(path, params=light, headers=same).status_code == 304


def test_an_ordinary_execution_is_complete_without_parameters(tmp_path: Path):
    with RunningService(tmp_path) as service:
        execution_id = service.run(line(60), inputs={"text": "x" * 9_000})["executionId"]
        response = service.http.get(f"/api/executions/{execution_id}/logs").json()
        assert (len(response["logs"]), response["hasMore"]) == (60, False)
        assert all("truncated" not in log["outputData"] for log in response["logs"])


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"limit": 21}, "MAX_LOGS_PAGE_SIZE=20"),
        ({"limit": 0}, "limit: "),
        ({"payloads": "perhaps"}, "payloads: "),
        ({"maxPayloadCharacters": 0}, "maxPayloadCharacters: "),
        ({"afterSeq": -1}, "afterSeq: "),
    ],
)
def test_a_page_that_cannot_be_is_rejected(
    service: RunningService, query: dict[str, Any], reason: str
):
    execution_id = service.run(line(2))["executionId"]
    response = service.http.get(f"/api/executions/{execution_id}/logs", params=query)
    assert response.status_code == 422
    assert reason in response.json()["detail"]


@on_both()
def test_node_results_come_when_they_are_requested(service: RunningService):
    execution_id = service.run(line(3), inputs={"a": 1})["executionId"]
    path = f"/api/executions/{execution_id}"
    assert "nodeResults" not in service.http.get(path).json()
    for query in ("include=nodeResults", "include=nodeResults&include=nodeResults"):
        assert "nodeResults" in service.http.get(f"{path}?{query}").json()
    results = service.http.get(path, params={"include": "nodeResults"}).json()["nodeResults"]
    assert set(results) == set(service_rows(service, execution_id))
    assert results["end"]["outputData"] == {"a": 1, "f0": 0}


def test_an_unknown_include_is_rejected_with_the_valid_ones(service: RunningService):
    execution_id = service.run(line(2))["executionId"]
    path = f"/api/executions/{execution_id}"
    response = service.http.get(path, params={"include": "nodeResults,inputs"})
    assert response.status_code == 422
    assert "'nodeResults'" in response.json()["detail"]
    for query in ("include=", "include=nodeResults,", "include=x&" * 2_000):
        assert service.http.get(f"{path}?{query}").status_code == 422


def test_results_that_are_too_large_are_truncated_and_marked(service: RunningService):
    text = "z" * 150_000
    execution_id = service.run(line(3), inputs={"text": text})["executionId"]
    response = service.http.get(
        f"/api/executions/{execution_id}", params={"include": "nodeResults"}
    ).json()
    for name in ("finalOutput", "nodeResults"):
        shown = response[name]
        assert shown["truncated"] is True
        assert shown["size"] > LIMITS["max_response_characters"] > len(shown["preview"]) == 8_192


def test_a_snapshot_has_the_newest_node_runs_and_counts_the_others(service: RunningService):
    service.save(line(2))
    service.write(
        "INSERT INTO workflow_executions(id, workflowId, status) VALUES ('theirs', 'w', 'done')"
    )
    service.write(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO execution_logs(id, executionId, nodeId, timestamp, inputData)"
        " SELECT printf('l%05d', i), 'theirs', 'n' || i, printf('%05d', i), ? FROM n",
        json.dumps("x" * 1_000),
    )
    text = service.http.get("/api/executions/theirs/stream").text
    (data,) = [part for part in text.splitlines() if part.startswith("data: ")]
    message = json.loads(data.removeprefix("data: "))
    assert len(message["logs"]) == 5_000
    assert message["omittedLogs"] == 15_000
    assert message["logs"][-1]["nodeId"] == "n20000"
    assert len(text) < 10_000_000
