"""Callbacks: the real service sends them to a real receiver."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import structlog
from standardwebhooks import Webhook, WebhookVerificationError

from flows.callbacks.request import USER_AGENT
from tests.support.documents import document, line, node
from tests.support.postgres import Storage, on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.servers import Request, Response, ScriptedServer, serve
from tests.support.service import RunningService, wait_until

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OK = Response(204)

T = TypeVar("T")


async def told(service: RunningService, execution_id: str) -> dict[str, Any]:
    """Return the execution after its callback was delivered or abandoned."""

    def look() -> dict[str, Any] | None:
        response = service.poll(execution_id)
        settled = response["callback"]["delivered"] or response["callback"]["abandonedAt"]
        return response if settled else None

    return await asyncio.to_thread(wait_until, look)  # type: ignore[return-value]


async def in_thread(function: Callable[[], T]) -> T:
    return await asyncio.to_thread(function)


async def run(service: RunningService, drawn: object, url: str, **body: object) -> dict[str, Any]:
    return await told(
        service, await in_thread(lambda: service.start(drawn, callbackUrl=url, **body))
    )


@on_both()
async def test_the_receiver_gets_the_final_state_once_and_signed(
    tmp_path: Path, storage: Storage
) -> None:
    begun = int(time.time())
    async with serve(OK) as server:
        with RunningService(tmp_path, callback_signing_secret=SECRET, **storage) as service:
            url = f"{server.url}/done?token=hidden"
            response = await run(service, line(3), url, inputs={"who": "Ada"})
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/done?token=hidden")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == USER_AGENT
    assert request.json == {
        "type": "execution_complete",
        "workflowName": "A workflow",
        **{
            name: response[name]
            for name in (
                "executionId",
                "workflowId",
                "organizationId",
                "status",
                "progress",
                "error",
                "createdAt",
                "startedAt",
                "completedAt",
                "finalOutput",
            )
        },
    }
    assert request.json["finalOutput"] == {"who": "Ada", "f0": 0}
    callback = response["callback"]
    assert callback["url"] == f"{server.url}/done"
    assert (callback["attempts"], callback["delivered"], callback["lastStatus"]) == (1, True, 204)
    assert callback["deliveredAt"] >= response["completedAt"]
    assert callback["nextAttemptAt"] is callback["abandonedAt"] is callback["lastError"] is None
    check_signature(request, response["executionId"], begun)


def check_signature(request: Request, execution_id: str, begun: int) -> None:
    # A receiver verifies the signature with the library …
    assert Webhook(SECRET).verify(request.body, request.headers) == request.json
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body + b" ", request.headers)
    # … or without it, by the specification.
    moment = request.headers["webhook-timestamp"]
    assert begun <= int(moment) <= time.time()
    assert request.headers["webhook-id"] == f"msg_{execution_id}"
    signed = b".".join([request.headers["webhook-id"].encode(), moment.encode(), request.body])
    digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{digest}"


async def test_without_a_secret_it_is_not_signed(service: RunningService) -> None:
    async with serve(OK) as server:
        response = await run(service, line(2), server.url)
    assert "webhook-signature" not in server.last.headers
    assert server.last.headers["webhook-id"] == f"msg_{response['executionId']}"
    assert server.last.headers["webhook-timestamp"].isdigit()


async def test_the_callback_of_a_failed_execution_is_sent(service: RunningService) -> None:
    async with serve(OK) as server:
        response = await run(service, document(node("bad", "raise")), server.url)
    said = server.last.json
    assert (said["type"], said["status"]) == ("execution_error", "failed")
    assert said["error"] == response["error"] != ""
    assert said["finalOutput"] is None


@pytest.mark.parametrize("parked", [True, False])
async def test_the_callback_of_a_cancelled_execution_is_sent_at_once(
    tmp_path: Path, gates: Gates, parked: bool
) -> None:
    waits = node("wait", "wait", waitSeconds=9_999) if parked else node("gate", "gate")
    async with serve(OK) as server:
        # Polling would take longer than the timeout of the test.
        with RunningService(tmp_path, PROBE_TYPES, poll_interval_seconds=60) as service:

            def cancel() -> str:
                execution_id = service.start(document(waits), callbackUrl=server.url)
                status = "waiting" if parked else "running"
                wait_until(lambda: service.poll(execution_id)["status"] == status)
                service.http.post(f"/api/executions/{execution_id}/cancel")
                return execution_id

            await told(service, await in_thread(cancel))
    assert len(server.requests) == 1
    said = server.last.json
    assert (said["type"], said["status"]) == ("execution_cancelled", "cancelled")


async def test_a_large_output_is_truncated_and_marked(service: RunningService) -> None:
    drawn = document(node("big", "give", gift="10 MB"))
    async with serve(OK) as server:
        await run(service, drawn, server.url)
    output = server.last.json["finalOutput"]
    assert output["truncated"] is True
    assert len(output["preview"]) == 8_192
    assert output["size"] > 10_000_000


async def test_every_string_arrives_unchanged(service: RunningService) -> None:
    async with serve(OK) as server:
        response = await run(service, document(node("n", "give", gift="unicode")), server.url)
    assert server.last.json["finalOutput"] == response["finalOutput"]


async def test_a_rerun_has_a_callback_of_its_own_only(service: RunningService) -> None:
    async with serve(OK) as server:
        first = await run(service, line(2), server.url)
        rerun = f"/api/executions/{first['executionId']}/rerun"

        def again(**body: object) -> str:
            return service.http.post(rerun, json=body).json()["executionId"]

        silent = await in_thread(lambda: service.ended(again()))
        assert silent["callback"] is None
        loud = await told(service, await in_thread(lambda: again(callbackUrl=f"{server.url}/2")))
    assert [request.path for request in server.requests] == ["/", "/2"]
    assert server.last.json["executionId"] == loud["executionId"]


@pytest.mark.parametrize(
    "url",
    [
        "a.example/x",
        "ftp://a.example/",
        "http://",
        "http://me:secret@a.example/",
        "http://a.example/\n",
        "http://a.example/" + "x" * 2_000,
        "",
        17,
        ["http://a.example/"],
    ],
)
def test_an_address_that_cannot_be_called_is_rejected(
    shared_service: RunningService, url: object
) -> None:
    shared_service.save(line(2))
    before = shared_service.rows("SELECT count(*) FROM workflow_executions")[0][0]
    refused = shared_service.submit(callbackUrl=url)
    again = shared_service.http.post("/api/executions/x/rerun", json={"callbackUrl": url})
    for response in (refused, again):
        assert response.status_code == 422
        assert response.json()["detail"].startswith("callbackUrl: ")
        assert response.json()["errors"][0]["pointer"] == "/callbackUrl"
        assert "secret" not in response.text
    assert shared_service.rows("SELECT count(*) FROM workflow_executions")[0][0] == before


def test_an_idempotency_key_includes_the_callback(shared_service: RunningService) -> None:
    workflow_id = shared_service.save(line(2))

    def submit(**body: object) -> tuple[int, str | None]:
        response = shared_service.http.post(
            "/api/workflows/execute",
            json={"workflowId": workflow_id, **body},
            headers={"Idempotency-Key": "key"},
        )
        return response.status_code, response.json().get("executionId")

    first = submit(callbackUrl="http://127.0.0.1:1/a")
    assert submit(callbackUrl="http://127.0.0.1:1/a") == first
    assert submit(callbackUrl="http://127.0.0.1:1/b")[0] == 422
    assert submit()[0] == 422
    rows = shared_service.rows("SELECT executionId FROM orchestrator_callbacks")
    assert [row[0] for row in rows].count(first[1]) == 1


async def test_neither_secret_nor_query_is_logged(tmp_path: Path) -> None:
    async with serve([Response(500), OK]) as server:
        with (
            structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs,
            RunningService(tmp_path, callback_signing_secret=SECRET) as service,
        ):
            started = await in_thread(
                lambda: service.start(line(2), callbackUrl=f"{server.url}/?token=hidden")
            )
            await in_thread(lambda: wait_until(lambda: failures(service, started)))
            # It is due now, so that the test does not wait for five seconds.
            service.write("UPDATE orchestrator_callbacks SET dueAt = '2020-01-01T00:00:00.000Z'")
            await told(service, started)
    events = {log["event"]: log for log in logs if "callback" in log["event"]}
    assert events.keys() == {"callback_failed", "callback_delivered"}
    assert events["callback_failed"]["reason"] == "the receiver answered 500 Internal Server Error"
    assert {log["execution_id"] for log in events.values()} == {started}
    shown = json.dumps(logs, default=str)
    assert "hidden" not in shown
    assert SECRET not in shown


async def test_an_address_where_calls_may_not_go_is_given_up_at_once(tmp_path: Path) -> None:
    async with serve(OK) as server:
        with RunningService(tmp_path, http_allowed_hosts="") as service:
            response = await run(service, line(1), server.url)
    callback = response["callback"]
    assert callback["abandonedAt"] is not None
    assert callback["attempts"] == 1
    assert "ssrf_blocked" in callback["lastError"]
    assert server.requests == []


def failures(service: RunningService, execution_id: str) -> int:
    return service.poll(execution_id)["callback"]["lastStatus"] or 0


@on_both()
async def test_two_services_on_one_database_send_each_callback_once(
    tmp_path: Path, storage: Storage
) -> None:
    async with serve(OK) as server:
        fast: dict[str, Any] = {"poll_interval_seconds": 0.02}
        with (
            RunningService(tmp_path, **fast, **storage) as one,
            RunningService(tmp_path, **fast, **storage) as two,
        ):

            def start() -> list[str]:
                workflow_id = one.save(line(2))
                return [
                    service.submit(workflow_id, callbackUrl=server.url).json()["executionId"]
                    for _ in range(10)
                    for service in (one, two)
                ]

            ids = await in_thread(start)
            for execution_id in ids:
                assert (await told(one, execution_id))["callback"]["attempts"] == 1
    assert sorted(ids) == sorted(sent_ids(server))


def sent_ids(server: ScriptedServer) -> list[str]:
    return [request.json["executionId"] for request in server.requests]
