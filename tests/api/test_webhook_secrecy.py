"""Webhook secrecy: responses reveal nothing without the address and the secret of a webhook."""

import json
from typing import Any

import pytest

from tests.support.documents import document, node
from tests.support.service import RunningService
from tests.support.webhook_calls import SECRET, count, hook, post, signed

LOCKED = {"webhookToken": "t", "webhookSecret": SECRET}
HOOK = node("hook", "webhook", webhookToken="t")
CASES: dict[str, tuple[Any, str]] = {
    "a wrong token": (hook(webhookToken="t"), "w/wrong"),
    "no token": (hook(webhookToken="t"), "w"),
    "a token where there is none": (hook(), "w/wrong"),
    "an invalid token in the config": (hook(webhookToken="a/b"), "w/wrong"),
    "an invalid secret in the config": (hook(webhookSecret="not base64!"), "w/wrong"),
    "an invalid secret at the right address": (hook(webhookToken="t", webhookSecret="!"), "w/t"),
    "an invalid scheme": (hook(webhookToken="t", webhookSignature="other"), "w/t"),
    "a scheme without a secret": (hook(webhookToken="t", webhookSignature="github"), "w/t"),
    "a disabled webhook": ({"nodes": [{**HOOK, "disabled": True}]}, "w/t"),
    "no webhook": (document(node("start", "trigger")), "w/wrong"),
    "a webhook inside the graph": (
        document(node("start", "trigger"), node("in", "webhook"), flow=("start -> in",)),
        "w",
    ),
    "an unknown node type": (
        document(node("hook", "webhook", webhookToken="t"), node("x", "nope")),
        "w/wrong",
    ),
    "a node with a wrong shape": (
        {"nodes": [{"id": "hook", "type": "webhook"}, {"id": 1.5, "type": "http"}]},
        "w/wrong",
    ),
    "a cycle": (
        document(node("a", "comment"), node("b", "comment"), flow=("a -> b", "b -> a")),
        "w/wrong",
    ),
    "text that is not JSON": ("{", "w/wrong"),
    "another shape": ('{"nodes": 7}', "w/wrong"),
    "a document of many nodes": (
        document(*(node(f"n{i}", "webhook", webhookToken=f"t{i}") for i in range(3_000))),
        "w/wrong",
    ),
    "invalid UTF-8 in the token": (hook(webhookToken="t"), "w/%ff%00"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_wrong_address_is_the_404_of_an_unknown_workflow(service: RunningService, case: str):
    data, path = CASES[case]
    unknown = post(service, {}, path)
    service.save(data)
    response = post(service, {}, path)
    assert (response.status_code, response.json()) == (404, unknown.json())
    assert response.json()["detail"] == "Workflow 'w' not found"
    assert set(response.headers) == set(unknown.headers)
    assert count(service) == 0


def test_the_body_is_not_read_before_the_address_is_right(service: RunningService):
    service.save(hook(**LOCKED))
    bad = {"Content-Type": "text/plain; charset=punycode", "Content-Encoding": "br"}
    assert post(service, path="w/wrong", content=b"\xff", headers=bad).status_code == 404
    assert post(service, path="w/t", content=b"\xff", headers=bad).status_code == 401
    headers = {**signed(b"\xff"), **bad}
    assert post(service, path="w/t", content=b"\xff", headers=headers).status_code == 415


def test_a_document_that_cannot_run_is_reported_to_senders_with_the_secret(service: RunningService):
    broken = document(
        node("hook", "webhook", **LOCKED), node("call", "http"), flow=("hook -> call",)
    )
    service.save(broken)
    assert post(service, path="w/t", content=b"{}").status_code == 401
    forged = {**signed(b"{}"), "webhook-signature": "v1,AAAA"}
    assert "httpUrl" not in post(service, path="w/t", content=b"{}", headers=forged).text
    response = post(service, path="w/t", content=b"{}", headers=signed(b"{}"))
    assert (response.status_code, "'httpUrl' is required" in response.text) == (422, True)
    assert count(service) == 0


def test_a_half_readable_document_is_reported_at_the_right_address_only(service: RunningService):
    drawn = hook(webhookToken="t")
    drawn["nodes"].append({"id": "x", "type": 1.5})
    service.save(json.dumps(drawn))
    assert post(service, {}, "w/wrong").status_code == 404
    assert post(service, {}, "w/t").status_code == 422
    assert count(service) == 0
