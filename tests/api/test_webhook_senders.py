"""Signature formats: deliveries signed like those of GitHub, Stripe and Slack."""

import gzip
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.webhooks.signatures import SignatureScheme, verify
from tests.support.service import RunningService
from tests.support.webhook_calls import count, hook, post, received

SECRETS = {"github": "It's a Secret to Everybody", "stripe": "whsec_test", "slack": "8f742231b10e"}
BODY = b'{"id": "evt_1", "event_id": "Ev1",  "n": 1}'


def signature(scheme: str, body: bytes, *, age: int = 0, delivery: str = "d-1", secret: str = ""):
    """Return the headers of a delivery that was signed ``age`` seconds ago."""
    moment = str(int(time.time()) - age)

    def made(signed: bytes) -> str:
        return hmac.digest((secret or SECRETS[scheme]).encode(), signed, "sha256").hex()

    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={made(body)}", "X-GitHub-Delivery": delivery}
    if scheme == "stripe":
        fits = made(f"{moment}.".encode() + body)
        return {"Stripe-Signature": f"t={moment},v1={'0' * 64},v1={fits},v0=1"}
    signed = f"v0={made(f'v0:{moment}:'.encode() + body)}"
    return {"X-Slack-Signature": signed, "X-Slack-Request-Timestamp": moment}


@pytest.fixture(params=sorted(SECRETS))
def scheme(request: pytest.FixtureRequest, service: RunningService) -> str:
    service.save(hook(webhookSignature=request.param, webhookSecret=SECRETS[request.param]))
    return request.param


def test_a_signed_delivery_is_accepted(service: RunningService, scheme: str):
    response = post(service, content=BODY, headers=signature(scheme, BODY))
    assert received(service, response) == json.loads(BODY)


def test_the_examples_of_the_senders_fit():
    # From the documentation of GitHub and Slack.
    github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"x-hub-signature-256": github}
    secret = "It's a Secret to Everybody"
    verify(SignatureScheme.GITHUB, secret, b"Hello, World!", headers, 0)
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015"
        b".47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    slack = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-signature": slack, "x-slack-request-timestamp": "1531420618"}
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    verify(SignatureScheme.SLACK, secret, body, headers, 1531420618 + 299)


@pytest.mark.parametrize("change", ["body", "secret", "missing", "empty", "not ASCII", "standard"])
def test_a_bad_signature_starts_nothing(service: RunningService, scheme: str, change: str):
    body = BODY + b" " if change == "body" else BODY
    headers: dict[str, Any] = signature(scheme, BODY, secret="x" if change == "secret" else "")
    if change == "missing":
        headers = {}
    if change in ("empty", "not ASCII"):
        text = "" if change == "empty" else "sha256=\xe9,v1=\xe9,t=1"
        headers = {
            name: text.encode("latin-1") if "ignature" in name else value
            for name, value in headers.items()
        }
    if change == "standard":
        headers = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,a"}
    response = post(service, content=body, headers=headers)
    assert response.status_code == 401, response.text
    assert SECRETS[scheme] not in response.text
    assert count(service) == 0


@pytest.mark.parametrize("age", [310, -310])
def test_a_signature_of_another_time_is_rejected_if_the_time_is_signed(
    service: RunningService, scheme: str, age: int
):
    response = post(service, content=BODY, headers=signature(scheme, BODY, age=age))
    assert response.status_code == (200 if scheme == "github" else 401)
    assert scheme == "github" or "five minutes" in response.json()["detail"]


def test_a_repeated_delivery_is_the_same_execution(service: RunningService, scheme: str):
    def deliver(body: bytes, age: int, delivery: str) -> str:
        headers = signature(scheme, body, age=age, delivery=delivery)
        response = post(service, content=body, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()["executionId"]

    first = deliver(BODY, 0, "d-1")
    assert deliver(BODY, 5, "d-1") == first
    other = BODY.replace(b"evt_1", b"evt_2").replace(b"Ev1", b"Ev2")
    assert deliver(other, 0, "d-2") != first
    assert count(service) == 2


def test_the_signature_is_over_the_packed_bytes(service: RunningService, scheme: str):
    packed = gzip.compress(BODY, mtime=0)
    headers = {**signature(scheme, packed), "Content-Encoding": "gzip"}
    assert received(service, post(service, content=packed, headers=headers))["n"] == 1


def test_a_secret_of_the_service_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_HUB", SECRETS["github"])
    with RunningService(tmp_path) as service:
        service.save(hook(webhookSignature="GitHub", webhookSecret="{{ secrets.HUB }}"))
        assert post(service, content=BODY, headers=signature("github", BODY)).status_code == 200


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"webhookSignature": "github"}, "'webhookSecret' is required"),
        ({"webhookSignature": "slack", "webhookSecret": "  "}, "'webhookSecret' is required"),
        ({"webhookSignature": "stripe", "webhookSecret": "{{ input.x }}"}, "'webhookSecret'"),
        ({"webhookSignature": "paypal", "webhookSecret": "x"}, "'webhookSignature'"),
        ({"webhookSignature": "standard", "webhookSecret": "no base64!"}, "should be base64"),
    ],
)
def test_a_config_that_cannot_check_signatures_is_rejected(
    service: RunningService, config: dict[str, Any], said: str
):
    service.save(hook(**config))
    response = service.submit()
    assert (response.status_code, said in response.json()["detail"]) == (422, True), response.text
