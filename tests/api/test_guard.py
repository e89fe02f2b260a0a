"""SSRF guard in a running service: its defaults, and settings that reach the nodes."""

from pathlib import Path

from tests.support.documents import document, node
from tests.support.ports import free_port
from tests.support.service import RunningService


def test_a_node_cannot_call_its_own_service(tmp_path: Path):
    with RunningService(tmp_path, http_allowed_hosts=None) as service:
        drawn = document(node("inside", "http", httpUrl=f"{service.url}/"))
        done = service.run(drawn)
        (log,) = service.logs(done["executionId"]).values()
        trial = service.http.post(
            "/api/nodes/execute",
            json={
                "workflowId": "w",
                "nodeId": "inside",
                "nodeType": "http",
                "node": drawn["nodes"][0],
            },
        ).json()
    assert done["status"] == "failed"
    assert "ssrf_blocked" in done["error"]
    assert "HTTP_ALLOWED_HOSTS=127.0.0.1:" in done["error"]
    assert log["attempt"] == 1  # http nodes retry, but not after this error
    assert "ssrf_blocked" in trial["error"]


def test_the_settings_reach_the_nodes(tmp_path: Path):
    with RunningService(tmp_path, http_max_response_bytes=10) as service:
        done = service.run(document(node("inside", "http", httpUrl=f"{service.url}/")))
        assert "larger than 10 bytes" in done["error"]
    with RunningService(
        tmp_path, http_allowed_hosts="x.example", http_allow_private_networks=True
    ) as service:
        done = service.run(document(node("inside", "http", httpUrl=f"{service.url}/")))
        assert done["status"] == "completed"
    with RunningService(tmp_path, http_proxy_url=f"http://127.0.0.1:{free_port()}") as service:
        public = node("outside", "http", httpUrl="http://8.8.8.8/", retries=0)
        assert "the connection was refused" in service.run(document(public))["error"]
