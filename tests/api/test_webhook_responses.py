"""Webhook responses: returned to the caller of a webhook."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.streaming import journal_tail
from tests.support.documents import document, node
from tests.support.generated import IS_THOROUGH
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import subscription_count
from tests.support.webhook_calls import answering, count, post

pytestmark = pytest.mark.behavior

CALLERS = 200 if IS_THOROUGH else 80
SENT = {"order": {"id": 7, "name": 'An "ö"'}, "n": 2}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({}, SENT),
        ({"Mode": "passthrough"}, SENT),
        ({"Mode": "selected", "Fields": "n, order.id"}, {"n": 2, "order.id": 7}),
        ({"Mode": "selected", "Fields": ["order"]}, {"order": SENT["order"]}),
        (
            {"Mode": "template", "Template": {"ok": True, "id": "{{ order.id }}"}},
            {"ok": True, "id": 7},
        ),
        ({"Mode": "template", "Template": '{"name": "{{ order.name }}"}'}, {"name": 'An "ö"'}),
        ({"Mode": "template", "Template": '{"id": {{ order.id }}}'}, {"id": 7}),
        ({"Mode": "template", "Template": "{{ order }}"}, SENT["order"]),
        ({"Mode": "template", "Template": ["{{ n }}", None]}, [2, None]),
    ],
)
def test_the_response_node_decides(
    service: RunningService, response: dict[str, Any], expected: Any
):
    service.save(answering(node("pass", "comment"), **response))
    answer = post(service, SENT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == expected


def test_fields_of_a_list_are_selected_record_by_record(service: RunningService):
    selected = {"webhookResponseMode": "selected", "webhookResponseFields": "a"}
    service.save(
        document(
            node("hook", "webhook"),
            node("split", "join"),
            node("reply", "webhookResponse", **selected),
            flow=("hook -> split", "split -> reply"),
        )
    )
    assert post(service, {"a": 1, "b": 2}).json() == [{"a": 1}]


@on_both()
def test_response_bodies_statuses_and_headers(service: RunningService):
    headers = {"X-Order": "nr {{ order.id }}", "X-Name": "{{ order.name }}", "Location": "/o/7"}
    service.save(
        answering(Mode="template", Template="Hi {{ n }}", StatusCode="201", Headers=headers)
    )
    answer = post(service, SENT)
    assert (answer.status_code, answer.text) == (201, "Hi 2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-order"] == "nr 7"
    assert answer.headers["location"] == "/o/7"
    raw = dict(answer.headers.raw)
    assert raw[b"x-name"].decode() == 'An "ö"'

    rows = [{"key": "Content-Type", "value": "text/html"}, {"key": "", "value": "x"}]
    service.save(
        answering(Mode="template", Template="<p>{{ n }}</p>", StatusCode=404, Headers=rows)
    )
    answer = post(service, SENT)
    assert (answer.status_code, answer.text) == (404, "<p>2</p>")
    assert answer.headers.get_list("content-type") == ["text/html"]


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_an_empty_body(service: RunningService, status: int):
    service.save(answering(StatusCode=status))
    for _ in range(
        2
    ):  # on one connection, because a body of the first response would corrupt the second
        answer = post(service, SENT)
        assert (answer.status_code, answer.content) == (status, b"")


def test_nodes_behind_the_response_run(service: RunningService, gates: Gates):
    drawn = answering(StatusCode=202)
    after = document(*drawn["nodes"], node("slow", "gate"), flow=("hook -> reply", "reply -> slow"))
    service.save(after)
    assert post(service, SENT).json() == SENT
    gates.wait_for("slow")
    (row,) = service.rows("SELECT id, status FROM workflow_executions")
    assert row["status"] == "running"
    gates.open("slow")
    assert service.ended(row["id"])["status"] == "completed"
    assert service.logs(row["id"])["slow"]["inputData"] == SENT


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ({"StatusCode": 199}, "'webhookResponseStatusCode'"),
        ({"StatusCode": 600}, "'webhookResponseStatusCode'"),
        ({"Mode": "other"}, "'webhookResponseMode'"),
        ({"Mode": "selected"}, "is required when webhookResponseMode is selected"),
        ({"Mode": "template"}, "is required when webhookResponseMode is template"),
        ({"Headers": {"Content-Length": "1"}}, "header 'Content-Length' is not permitted"),
        ({"Headers": {"transfer-encoding": "x"}}, "header 'transfer-encoding' is not permitted"),
        ({"Headers": {"Clear-Site-Data": '"*"'}}, "header 'Clear-Site-Data' is not permitted"),
        ({"Headers": '[{"key": "Alt-Svc", "value": "x"}]'}, "header 'Alt-Svc' is not permitted"),
        ({"Headers": {"Set-Cookie": "{{ a }}"}}, "header 'Set-Cookie' is not permitted"),
        ({"Headers": {"X Y": "1"}}, "header 'X Y' is not permitted"),
        (
            {"Headers": {"X": "a\r\nSet-Cookie: b"}},
            "would contain a line break",
        ),
        ({"Headers": "no"}, "should be an object or a list"),
    ],
)
def test_a_config_without_a_valid_response_is_rejected(
    service: RunningService, response: dict[str, Any], said: str
):
    service.save(answering(**response))
    answer = post(service, {})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert count(service) == 0


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (
            {"Headers": {"X": "{{ evil }}"}},
            "would contain a line break",
        ),
        ({"Mode": "selected", "Fields": "nope"}, "no field 'nope' (it has: evil)"),
        ({"Mode": "template", "Template": "{{ nope }}"}, "webhookResponseTemplate: "),
    ],
)
def test_an_execution_that_fails_before_its_response_is_an_error(
    service: RunningService, response: dict[str, Any], said: str
):
    service.save(answering(**response))
    answer = post(service, {"evil": "a\r\nSet-Cookie: b"})
    execution_id = answer.json()["executionId"]
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["success"], answer.json()["executionStatus"]) == (False, "failed")
    assert said not in answer.text  # only users with access to the execution see the reason
    assert said in service.poll(execution_id)["error"]


@pytest.mark.parametrize("ending", ["cancelled", "deleted", "timed out"])
def test_an_execution_that_ends_badly_while_its_caller_waits_is_an_error(
    tmp_path: Path, gates: Gates, ending: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal_tail, "SWEEP_INTERVAL_SECONDS", 0.5)  # finds deleted executions
    limit = 0.5 if ending == "timed out" else 60.0
    with RunningService(tmp_path, PROBE_TYPES, execution_timeout_seconds=limit) as service:
        service.save(answering(node("held", "gate")))
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(post, service, {})
            wait_until(lambda: count(service) == 1)
            (row,) = service.rows("SELECT id FROM workflow_executions")
            if ending != "timed out":  # the time may be over before the node starts
                gates.wait_for("held")
            if ending == "cancelled":
                service.http.post(f"/api/executions/{row['id']}/cancel")
            elif ending == "deleted":
                service.write("DELETE FROM workflow_executions")
            answer = call.result()
        assert answer.status_code == 500, answer.text
        assert (answer.json()["success"], answer.json()["executionId"]) == (False, row["id"])
        gates.open("held")


def test_a_response_is_sandboxed(service: RunningService):
    rows = [{"key": "Content-Type", "value": "text/html"}, {"key": "X-Mine", "value": "1"}]
    service.save(answering(Mode="template", Template="<script>1</script>", Headers=rows))
    answer = post(service, {})
    assert answer.headers.get_list("content-security-policy") == ["sandbox"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-mine"] == "1"
    assert "content-security-policy" not in service.http.get("/").headers


@pytest.mark.parametrize("name", ["Service-Worker-Allowed", "access-control-allow-origin"])
def test_a_response_that_an_older_version_stored_has_permitted_headers_only(
    service: RunningService, name: str
):
    service.save(answering(Headers={"X-Mine": "1"}))
    post(service, {"n": 1}, headers={"webhook-id": "m"})
    change = "UPDATE execution_logs SET resultDetail = replace(resultDetail, 'X-Mine', ?)"
    service.write(change, name)
    answer = post(service, {"n": 1}, headers={"webhook-id": "m"})
    assert (answer.status_code, answer.json()) == (200, {"n": 1})
    assert name not in answer.headers


def test_a_response_that_is_not_reached_is_a_202(service: RunningService):
    test = node("test", "condition", conditionField="n", conditionValue="1")
    drawn = answering(test)
    drawn["connections"][1]["outputType"] = "true"
    service.save(drawn)
    assert post(service, {"n": 1}).status_code == 200
    answer = post(service, {"n": 2})
    assert (answer.status_code, answer.json()["status"]) == (202, "completed")


def test_a_response_that_the_webhook_does_not_lead_to_is_not_waited_for(
    service: RunningService, gates: Gates
):
    service.save(
        document(
            node("hook", "webhook"),
            node("held", "gate"),
            node("start", "trigger"),
            node("reply", "webhookResponse"),
            flow=("hook -> held", "start -> reply"),
        )
    )
    assert post(service, {}).status_code == 200
    gates.open("held")


def test_a_response_after_the_timeout_is_a_202_and_the_execution_continues(
    tmp_path: Path, gates: Gates
):
    with RunningService(tmp_path, PROBE_TYPES, webhook_response_timeout_seconds=0.3) as service:
        service.save(answering(node("held", "gate")))
        begun = time.monotonic()
        answer = post(service, {}, headers={"webhook-id": "m"})
        assert time.monotonic() - begun >= 0.3
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        gates.open("held")
        service.ended(answer.json()["executionId"])
        # A repeated request returns the response that was decided in the meantime.
        assert post(service, {}, headers={"webhook-id": "m"}).status_code == 200
        assert count(service) == 1


def test_a_caller_that_goes_away_changes_nothing(service: RunningService, gates: Gates):
    service.save(answering(node("held", "gate")))
    caller = HTTPConnection(service.url.removeprefix("http://"))
    headers = {"webhook-id": "m", "Content-Type": "application/json"}
    caller.request("POST", "/api/webhook/w", b'{"n": 1}', headers)
    gates.wait_for("held")
    caller.close()
    gates.open("held")
    (row,) = service.rows("SELECT id FROM workflow_executions")
    assert service.ended(row["id"])["status"] == "completed"
    assert post(service, {"n": 1}, headers={"webhook-id": "m"}).status_code == 200


def test_many_callers_wait_without_holding_a_thread(tmp_path: Path, gates: Gates):
    with RunningService(tmp_path, PROBE_TYPES, max_concurrent_executions=CALLERS) as service:
        service.save(answering(node("held", "gate")))
        before = threading.active_count()
        limits = httpx.Limits(max_connections=None)
        with (
            ThreadPoolExecutor(CALLERS) as pool,
            httpx.Client(base_url=service.url, timeout=60, limits=limits) as client,
        ):
            calls = [
                pool.submit(client.post, "/api/webhook/w", json={"n": i}) for i in range(CALLERS)
            ]
            hub = service.app.state.services.broadcaster
            wait_until(lambda: subscription_count(hub) == CALLERS)
            assert threading.active_count() - before <= CALLERS + 10  # created by the callers
            gates.open("held")
            answers = [call.result() for call in calls]
        assert {answer.status_code for answer in answers} == {200}
        wait_until(lambda: subscription_count(hub) == 0)


def test_a_stop_of_the_service_responds_to_waiting_callers(tmp_path: Path, gates: Gates):
    answers: list[httpx.Response] = []
    with RunningService(tmp_path, PROBE_TYPES) as service:
        service.save(answering(node("held", "gate")))
        caller = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{service.url}/api/webhook/w", json={}, timeout=20)
            )
        )
        caller.start()
        gates.wait_for("held")
    caller.join(20)
    assert (answers[0].status_code, answers[0].json()["success"]) == (202, True)
