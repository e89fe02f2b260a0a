"""Signed deliveries and repeated deliveries."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.documents import document, node
from tests.support.incompressible import MAX_INDEX_ENTRY_BYTES, incompressible
from tests.support.postgres import on_both
from tests.support.service import RunningService
from tests.support.webhook_calls import KEY, SECRET, answering, count, hook, post, received, signed

BODY = '{"paid":  "ö"}'.encode()
MINUTES = 60


@pytest.fixture
def running(service: RunningService) -> RunningService:
    service.save(hook(webhookSecret=SECRET))
    return service


def test_a_signed_delivery_is_taken(running: RunningService):
    response = post(running, content=BODY, headers=signed(BODY))
    assert received(running, response) == {"paid": "ö"}


@pytest.mark.parametrize(
    "secret", [SECRET.removeprefix("whsec_"), SECRET.rstrip("="), f" {SECRET} "]
)
def test_a_secret_may_be_written_in_other_ways(service: RunningService, secret: str):
    assert base64.b64decode(SECRET.removeprefix("whsec_")) == KEY
    service.save(hook(webhookSecret=secret))
    assert post(service, content=BODY, headers=signed(BODY)).status_code == 200


def test_a_secret_of_the_service_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_HOOK", SECRET)
    monkeypatch.setenv("SECRET_NO_KEY", "not base64!")
    with RunningService(tmp_path) as service:
        for name in ("GONE", "NO_KEY"):
            service.save(hook(webhookSecret=f"{{{{ secrets.{name} }}}}"))
            reason = "it cannot be verified; see the log of the service"
            refused(service, BODY, signed(BODY), reason)

        for text in ("{{ secrets.HOOK | lower }}", "{{ input.x }}", "whsec_{{ secrets.HOOK }}"):
            service.save(hook(webhookSecret=text))
            assert post(service, content=BODY, headers=signed(BODY)).status_code == 404
            assert service.submit().status_code == 422

        service.save(hook(webhookSecret="{{ secrets.HOOK }}"))
        refused(service, BODY, {}, "has no webhook-id")
        assert post(service, content=BODY, headers=signed(BODY)).status_code == 200


def test_one_good_signature_among_others_is_enough(running: RunningService):
    headers = signed(BODY)
    good = headers["webhook-signature"]
    other = signed(BODY, secret="b3RoZXI=")["webhook-signature"]
    for others in (f"v1a,abc {good}", f"{other} {good}", f"nonsense v1,é= {good}", f"{good} v1"):
        raw = others.encode("latin-1")
        response = post(running, content=BODY, headers={**headers, "webhook-signature": raw})
        assert response.status_code == 200, response.text
    assert count(running) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"webhook-signature": None}, "no webhook-signature"),
        ({"webhook-id": None, "webhook-timestamp": None}, "no webhook-id and no webhook-timestamp"),
        ({"webhook-id": "msg_2"}, "no signature of version v1"),
        ({"webhook-signature": "v1,AAAA"}, "no signature of version v1"),
        ({"webhook-signature": "v1,A"}, "no signature of version v1"),
        ({"webhook-signature": "v1"}, "no signature of version v1"),
        ({"webhook-timestamp": "nan"}, "seconds since 1970"),
        ({"webhook-timestamp": "1e400"}, "seconds since 1970"),
        ({"webhook-timestamp": "999999999999"}, "five minutes off|no signature|seconds"),
    ],
)
def test_a_bad_signature_starts_nothing(
    running: RunningService, change: dict[str, str | None], reason: str
):
    headers = {k: v for k, v in {**signed(BODY), **change}.items() if v is not None}
    refused(running, BODY, headers, reason)


@pytest.mark.parametrize("age", [5 * MINUTES + 10, -5 * MINUTES - 10])
def test_a_valid_signature_of_another_time_is_rejected(running: RunningService, age: float):
    refused(running, BODY, signed(BODY, age=age), "more than five minutes off")


@pytest.mark.parametrize("age", [4 * MINUTES, -4 * MINUTES])
def test_clocks_may_differ_by_less_than_five_minutes(running: RunningService, age: float):
    assert post(running, content=BODY, headers=signed(BODY, age=age)).status_code == 200


def test_another_version_secret_or_body_is_rejected(running: RunningService):
    headers = signed(BODY)
    version = headers["webhook-signature"].replace("v1,", "v2,")
    refused(running, BODY, {**headers, "webhook-signature": version}, "version v1")
    refused(running, BODY, signed(BODY, secret="b3RoZXI="), "version v1")
    refused(running, BODY + b" ", headers, "version v1")
    refused(running, b"\xff", headers, "version v1")


def refused(service: RunningService, body: bytes, headers: dict[str, str], reason: str) -> None:
    response = post(service, content=body, headers=headers)
    assert response.status_code == 401, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert any(part in response.json()["detail"] for part in reason.split("|")), response.text
    assert SECRET not in response.text
    assert count(service) == 0


# Repeated deliveries


def test_a_repeated_delivery_is_the_same_execution(running: RunningService):
    first = post(running, content=BODY, headers=signed(BODY)).json()["executionId"]
    other = b'{"paid": "something else"}'
    later = signed(other, age=-2)
    assert post(running, content=other, headers=later).json()["executionId"] == first
    running.save("{}")
    assert post(running, content=BODY, headers=signed(BODY)).status_code == 404
    running.save(hook(webhookSecret=SECRET, retries=1))
    assert post(running, content=BODY, headers=signed(BODY)).json()["executionId"] == first
    new = post(running, content=BODY, headers=signed(BODY, message="msg_2"))
    assert new.json()["executionId"] != first
    assert count(running) == 2


@on_both()
def test_a_repeated_delivery_of_a_deleted_execution_starts_nothing(running: RunningService):
    first = post(running, content=BODY, headers=signed(BODY)).json()["executionId"]
    running.ended(first)
    running.write("DELETE FROM workflow_executions WHERE id = ?", first)
    response = post(running, content=BODY, headers=signed(BODY))
    assert (response.status_code, response.json()["executionId"]) == (200, first)
    assert count(running) == 0


def test_thirty_repeats_at_once_are_one_execution(running: RunningService):
    headers = signed(BODY)
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: post(running, content=BODY, headers=headers), range(30)))
    assert {response.status_code for response in answers} == {200}
    assert len({response.json()["executionId"] for response in answers}) == 1
    assert count(running) == 1


def test_an_id_counts_without_a_secret_too_and_after_a_restart(tmp_path: Path):
    headers = {"webhook-id": "msg_1"}
    with RunningService(tmp_path) as service:
        service.save(hook())
        first = post(service, {"n": 1}, headers=headers).json()["executionId"]
        assert post(service, {"n": 1}).json()["executionId"] != first
    with RunningService(tmp_path) as service:
        assert post(service, {"n": 1}, headers=headers).json()["executionId"] == first


@on_both()
def test_an_id_may_be_longer_than_a_key_of_the_database(service: RunningService):
    service.save(hook())
    ids = [incompressible(2 * MAX_INDEX_ENTRY_BYTES, seed) for seed in (1, 2, 1)]
    answers = [post(service, {}, headers={"webhook-id": long}) for long in ids]
    assert {response.status_code for response in answers} == {200}
    first, second, third = (response.json()["executionId"] for response in answers)
    assert first == third != second


def test_an_id_belongs_to_its_webhook(service: RunningService):
    service.save(hook())
    service.save(hook(), "w2", "Another workflow")
    both = document(
        node("one", "webhook", webhookToken="1"), node("two", "webhook", webhookToken="2")
    )
    service.save(both, "w3", "Two webhooks")
    headers = {"webhook-id": "k", "Idempotency-Key": "k"}
    ids = [
        post(service, {}, path, headers=headers).json()["executionId"]
        for path in ("w", "w2", "w3/1", "w3/2", "w")
    ]
    own = service.http.post(
        "/api/workflows/execute", json={"workflowId": "w"}, headers={"Idempotency-Key": "k"}
    )
    assert len({*ids, own.json()["executionId"]}) == 5
    assert ids[0] == ids[4]


@on_both()
def test_a_repeated_delivery_gets_the_same_response(service: RunningService):
    again = node("count", "addField", addFieldName="seen", addFieldValue="{{ n }}")
    service.save(answering(again, hook=node("hook", "webhook", webhookSecret=SECRET)))
    bodies = (b'{"n": 1}', b'{"n": 2}')
    answers = [post(service, content=body, headers=signed(body)) for body in bodies]
    service.save(hook(webhookSecret=SECRET))  # the version at the first delivery runs
    answers.append(post(service, content=bodies[0], headers=signed(bodies[0])))
    assert [response.json() for response in answers] == [{"n": 1, "seen": 1}] * 3
    assert count(service) == 1
