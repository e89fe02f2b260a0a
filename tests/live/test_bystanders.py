"""No execution delays others: a client that has nothing to do with an attack does not notice it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.bystander import Delays, bystander, watch
from tests.documents import document, node
from tests.probes import GIFTS, PROBE_TYPES
from tests.service import RunningService, wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with the default limits; only the document of the test may have more nodes."""
    directory = tmp_path_factory.mktemp("service")
    with RunningService(directory, PROBE_TYPES, max_workflow_nodes=20_000) as running:
        yield running


@pytest.fixture(scope="module")
def at_rest(attacked: RunningService) -> Delays:
    return watch(attacked.url)


def after_trigger(*nodes: dict[str, Any]) -> dict[str, Any]:
    every = [node("start", "trigger"), *nodes]
    ids = [item["id"] for item in every]
    return document(*every, flow=tuple(f"{a} -> {b}" for a, b in pairwise(ids)))


def test_templates_that_compute_for_minutes(attacked: RunningService, at_rest: Delays):
    many = ["{{ l | join('') | length }}"] * 300
    slow = after_trigger(
        node("add", "addField", addFieldName="n", addFieldValue=many, timeoutSeconds=3)
    )
    attacked.save(slow)
    with bystander(attacked.url) as probe:
        inputs = {"l": [1] * 200_000}
        ids = [attacked.submit(inputs=inputs).json()["executionId"] for _ in range(3)]
        ended = [attacked.ended(execution_id) for execution_id in ids]
        probe.wait_for_probes(3)
    assert [execution["status"] for execution in ended] == ["failed"] * 3
    assert all("timed out after 3 s" in execution["error"] for execution in ended)
    probe.delays.assert_close_to(at_rest)


def test_a_chain_that_doubles_its_data(attacked: RunningService, at_rest: Delays):
    add = [
        node(f"n{i}", "addField", addFieldName=f"f{i}", addFieldValue="{{ input }}")
        for i in range(22)
    ]
    with bystander(attacked.url) as probe:
        execution_id = attacked.start(after_trigger(*add), inputs={"a": "x" * 200})
        path = f"/api/executions/{execution_id}"
        wait_until(lambda: attacked.http.get(path).json()["status"] == "failed", 180)
        probe.wait_for_probes(3)
    assert "MAX_NODE_RESULT_BYTES" in attacked.http.get(path).json()["error"]
    database = sum(file.stat().st_size for file in attacked.path.parent.glob("database.sqlite*"))
    assert database < 200_000_000
    probe.delays.assert_close_to(at_rest)


def test_a_document_of_very_many_parallel_nodes(attacked: RunningService, at_rest: Delays):
    many = document(
        *(node(f"n{i}", "addField", addFieldName="a", addFieldValue=1) for i in range(20_000))
    )
    with bystander(attacked.url) as probe:
        execution_id = attacked.start(many)
        wait_until(lambda: attacked.poll(execution_id)["progress"]["completedNodes"] > 100, 120)
        probe.wait_for_probes(3)
        assert attacked.poll(execution_id)["status"] == "running"
    attacked.http.post(f"/api/executions/{execution_id}/cancel").raise_for_status()
    attacked.ended(execution_id)
    probe.delays.assert_close_to(at_rest)


GIFTS["9 MB of records"] = {
    "success": True,
    "outputData": [
        {"id": i, "name": f"name of record {i}", "price": i / 7} for i in range(150_000)
    ],
}


def test_very_many_single_node_runs_with_large_results(attacked: RunningService, at_rest: Delays):
    body = {
        "workflowId": "w",
        "nodeId": "n",
        "nodeType": "give",
        "node": {"config": {"gift": "9 MB of records"}},
    }

    def preview(_number: int) -> int:
        answer = attacked.http.post("/api/nodes/execute", json=body, timeout=120)
        if answer.status_code == 200:
            assert len(answer.content) > 9_000_000
        return answer.status_code

    with bystander(attacked.url) as probe, ThreadPoolExecutor(40) as threads:
        statuses = list(threads.map(preview, range(100)))
        probe.wait_for_probes(3)
    assert set(statuses) == {200, 429}
    probe.delays.assert_close_to(at_rest)
