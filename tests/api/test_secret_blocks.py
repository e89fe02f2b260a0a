"""Secrets in Prefect blocks: errors while the Prefect server does not respond."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.prefect_adapter import secrets as prefect_secrets
from flows.prefect_adapter.environment import prepare_prefect
from tests.support.documents import document, node
from tests.support.ports import free_port
from tests.support.problems import problem_of, row_counts
from tests.support.service import RunningService
from tests.support.webhook_calls import SECRET, hook, post, received, signed

BODY = b'{"order":7}'
CANARY = "c4n4ry-in-an-error"
AWAY = "the secret 'HOOK' is unavailable: the Prefect server cannot be reached"


class Blocks:
    """Replacement for the blocks of a server; it fails until it has a value."""

    def __init__(self) -> None:
        self.value: str | None = None
        self.asked = 0

    async def fetch(self, _name: str) -> str | None:
        self.asked += 1
        if self.value is None:
            raise ValueError(f"no block: {CANARY}")
        return self.value


@pytest.fixture
def blocks(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Blocks:
    elsewhere = Blocks()
    secrets = service.app.state.services.worker.secrets
    monkeypatch.setattr(secrets, "fetch", elsewhere.fetch)
    return elsewhere


def deliver(service: RunningService) -> Any:
    return post(service, content=BODY, headers=signed(BODY))


def test_a_delivery_whose_secret_cannot_be_read_is_a_503(
    service: RunningService, blocks: Blocks, capfd: pytest.CaptureFixture[str]
):
    service.save(hook(webhookSecret="{{ secrets.HOOK }}"))
    before = row_counts(service)
    response = deliver(service)
    problem = problem_of(response, 503)
    detail = "The signature cannot be checked now; send the request again later"
    assert problem["detail"] == detail  # only the log contains the name of the secret
    expected = {"code": "secret_unavailable", "detail": detail, "pointer": ""}
    assert problem["errors"] == [expected]
    assert response.headers["retry-after"] == "2"
    assert row_counts(service) == before
    # Repeated deliveries, after the server has started.
    blocks.value = SECRET
    assert received(service, deliver(service)) == {"order": 7}
    # Neither the response nor the log repeats the server's error, which may contain the secret.
    logged = "".join(capfd.readouterr())
    assert AWAY in logged
    assert CANARY not in logged + response.text
    assert "Traceback" not in logged


def test_a_block_that_is_too_short_to_mask_is_rejected_as_a_secret(
    service: RunningService, blocks: Blocks
):
    service.save(hook(webhookSecret="{{ secrets.HOOK }}"))
    blocks.value = "abc"
    problem = problem_of(deliver(service), 401)
    assert "it cannot be verified" in problem["detail"]


USES = node("uses", "addField", addFieldName="a", addFieldValue="{{ secrets.HOOK }}")


def test_a_node_whose_secret_is_missing_fails_with_its_name(
    service: RunningService, blocks: Blocks
):
    done = service.run(document(USES))
    assert done["status"] == "failed"
    assert AWAY in done["error"]
    assert "uses" in done["error"]
    assert CANARY not in done["error"]
    response = service.http.post(
        "/api/nodes/execute",
        json={"workflowId": "w", "nodeId": "n", "nodeType": "addField", "node": USES},
    )
    assert response.status_code == 200
    assert (response.json()["success"], response.json()["error"]) == (False, AWAY)


def test_each_retry_reads_the_secret_again(service: RunningService, blocks: Blocks):
    uses = {**USES, "config": {**USES["config"], "retries": 3, "retryDelaySeconds": 0}}
    done = service.run(document(uses))
    assert (done["status"], blocks.asked) == ("failed", 4)
    (log,) = service.logs(done["executionId"]).values()
    assert (log["attempt"], log["lastError"], log["error"]) == (4, AWAY, AWAY)


def test_a_missing_block_does_not_prevent_submission(service: RunningService, blocks: Blocks):
    service.save(document(USES, node("end"), flow=("uses -> end",)))
    response = service.submit(callbackUrl="http://127.0.0.1:9/callback")
    assert response.status_code == 200
    done = service.ended(response.json()["executionId"])
    assert AWAY in done["error"]
    assert blocks.asked == 1  # only by the node


def test_a_preview_without_the_prefect_server_fails_with_the_reason(tmp_path: Path):
    away = f"http://127.0.0.1:{free_port()}/api"
    with RunningService(tmp_path, prefect_api_url=away) as service:
        response = service.http.post(
            "/api/nodes/execute",
            json={"workflowId": "w", "nodeId": "n", "nodeType": "output", "node": {}},
        )
    prepare_prefect(None, tmp_path)
    assert response.status_code == 200
    assert response.json()["success"] is False
    assert "the Prefect server (PREFECT_API_URL) cannot be reached" in response.json()["error"]


async def test_a_silent_server_is_abandoned_after_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prefect_secrets, "FETCH_TIMEOUT_SECONDS", 0.3)
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        prepare_prefect(f"http://127.0.0.1:{mute.getsockname()[1]}/api", tmp_path)
        try:
            async with asyncio.timeout(20):
                with pytest.raises(TimeoutError):
                    await prefect_secrets.fetch_secret("HOOK")
        finally:
            prepare_prefect(None, tmp_path)
