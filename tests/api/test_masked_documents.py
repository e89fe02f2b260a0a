"""Secrets in documents: which roles see them, and how a returned mask is stored."""

import copy
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prefect import task
from pydantic import AliasChoices, Field, SecretStr

from engine.masking import MASK
from tasks.config.base import FormModel, NodeConfig
from tasks.config.fields import SECRET
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.access import ENTRIES, as_
from tests.support.problems import problem_of
from tests.support.service import RunningService


class Account(FormModel):
    name: str = ""
    pass_word: str = Field(default="", json_schema_extra=SECRET)


class BankConfig(NodeConfig, title="Bank"):
    """Handle a payment."""

    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("apiKey", "bankKey")
    )
    accounts: list[Account] = Field(default_factory=list[Account])
    by_name: dict[str, Account] = Field(default_factory=dict[str, Account])


@task(name="bank")
def bank(node: dict[str, Any], input_data: object) -> dict[str, Any]:
    return {"success": True, "outputData": input_data}


TYPES = NodeTypes({**NODE_HANDLERS, "bank": bank}, {**NODE_CONFIGS, "bank": BankConfig})
HOOK = {"webhookToken": "hush-token", "webhookSecret": "whsec_aHVzaC1zZWNyZXQtb2YtMjQtYnl0ZXM="}
HTTP = {
    "httpUrl": "https://shop.example",
    "httpAuth": {"type": "basic", "username": "ada", "password": "hush-password"},
    "httpHeaders": [
        {"key": "Accept", "value": "text/plain"},
        {"key": "authorization", "value": "Bearer hush-bearer"},
        {"key": "X-API-Key", "value": "hush-key"},
    ],
}
BANK = {
    "bankKey": "hush-bank",
    "api_key": "hush-snake",
    "accounts": [
        {"name": "one", "passWord": "hush-one"},
        {"name": "two", "pass_word": "hush-two"},
        {"name": "none", "passWord": ""},
    ],
    "byName": {"main": {"name": "three", "passWord": "hush-three"}},
}
MAIN = {
    "nodes": [
        {"id": "hook", "type": "webhook", "label": "Hook", "config": HOOK},
        {"id": "call", "type": "http", "label": "Call", "config": HTTP},
        {"id": "bank", "type": "bank", "label": "Bank", "config": BANK},
    ],
    "connections": [{"id": "c", "fromNodeId": "hook", "toNodeId": "call"}],
}
FLOW = {
    "nodes": [
        {"id": "hook", "type": "webhook", "data": {"label": "Hook", **HOOK}},
        {"id": "call", "type": "http", "data": {"label": "Call", "config": HTTP}},
        {"id": "bank", "type": "bank", "data": {"config": BANK}},
    ],
    "edges": [{"id": "c", "source": "hook", "target": "call"}],
    "viewport": {"x": 0},
}
DOCUMENTS = pytest.mark.parametrize("document", [MAIN, FLOW], ids=["main project", "React Flow"])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("guarded"), TYPES, api_keys=ENTRIES) as service:
        yield service


def read(service: RunningService, name: str, workflow_id: str = "w") -> httpx.Response:
    response = service.http.get(f"/api/workflows/{workflow_id}", headers=as_(name))
    assert response.status_code == 200, response.text
    return response


def put(
    service: RunningService, document: object, tag: str | None = None, workflow_id: str = "w"
) -> httpx.Response:
    headers = as_("admin") if tag is None else {**as_("admin"), "If-Match": tag}
    body = {"name": "A workflow", "data": document}
    return service.http.put(f"/api/workflows/{workflow_id}", json=body, headers=headers)


def stored(service: RunningService, workflow_id: str = "w") -> Any:
    ((data,),) = service.rows("SELECT data FROM workflows WHERE id=?", workflow_id)
    return json.loads(data)


# Roles that see secrets


@DOCUMENTS
@pytest.mark.parametrize("name", ["read", "run"])
def test_a_role_below_admin_sees_no_secret(guarded: RunningService, document: Any, name: str):
    guarded.save(document)
    text = read(guarded, name).text
    assert "hush" not in text
    assert text.count(f'"{MASK}"') == 10
    for shown in ("ada", "text/plain", "https://shop.example", '"one"', "authorization"):
        assert shown in text
    assert read(guarded, "admin").json()["data"] == document


def test_without_keys_nothing_is_masked(service: RunningService):
    service.save(MAIN)
    assert service.http.get("/api/workflows/w").json()["data"] == MAIN


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "hush"},
        {"COOKIE": "hush"},
        [{"name": "Api-Key", "value": "hush"}],
        json.dumps({"Authorization": "hush"}),
        json.dumps([{"key": "Cookie", "value": "hush"}]),
        '{"Authorization": "hush", cut off',
    ],
)
def test_credential_headers_are_masked_in_any_spelling(guarded: RunningService, headers: Any):
    config = {"httpUrl": "https://shop.example", "httpHeaders": headers}
    guarded.save({"nodes": [{"id": "call", "type": "http", "config": config}]})
    shown = read(guarded, "read")
    assert "hush" not in shown.text
    assert put(guarded, shown.json()["data"]).status_code == 200
    assert stored(guarded)["nodes"][0]["config"]["httpHeaders"] == headers


@pytest.mark.parametrize(
    "document",
    [
        '{"nodes": [{"type": "webhook", "config": {"webhookToken": "hush"}}',
        json.dumps(json.dumps(MAIN)),
        json.dumps([MAIN]),
        {"nodes": {"hook": {"type": "webhook", "config": HOOK}}},
        {"nodes": [[{"type": "webhook", "config": HOOK}]]},
        {"nodes": [], "history": [MAIN]},
        {"nodes": [{"id": "a", "type": "webhook", "config": {"x": 1}, "data": HOOK}]},
        {"nodes": [{"id": "a", "type": "webhook", "data": {"config": {"x": 1}, **HOOK}}]},
        {"nodes": [{"id": "a", "type": "webhook", **HOOK}]},
        {"nodes": [{"id": "a", "type": "a type that is gone", "config": {**HOOK, **BANK}}]},
        {"nodes": [{"id": "a", "type": "http", "config": {"httpAuth": "hush"}}]},
        {"nodes": [{"id": "a", "type": "http", "config": {"httpAuth": {"token": ["hush"]}}}]},
        {"nodes": [{"id": "a", "type": "webhook", "config": {"webhookToken": {"x": "hush"}}}]},
    ],
)
def test_a_document_of_the_wrong_shape_shows_no_secret(guarded: RunningService, document: Any):
    guarded.save(document)
    assert "hush" not in read(guarded, "read").text


def test_no_other_response_shows_a_secret(guarded: RunningService):
    broken = copy.deepcopy(MAIN)
    broken["nodes"][0]["config"] = {"webhookToken": "hush/a", "webhookSecret": "hush secret"}
    broken["nodes"][1]["config"] = {
        "httpUrl": "https://shop.example",
        "httpAuth": {"type": "bearer", "token": "hush {{ a | nope }} hush"},
    }
    guarded.save(broken)
    http = guarded.http
    answers = [
        http.get("/api/workflows", headers=as_("read")),
        http.get("/api/workflows/w/executions", headers=as_("read")),
        http.post("/api/workflows/validate", json={"workflowId": "w"}, headers=as_("read")),
        http.post("/api/workflows/execute", json={"workflowId": "w"}, headers=as_("run")),
        http.put("/api/workflows/w", json={"name": "n", "data": {}}, headers=as_("run")),
    ]
    assert [response.status_code for response in answers] == [200, 200, 200, 422, 403]
    for response in answers:
        assert "hush" not in response.text


# Masks in requests


@DOCUMENTS
def test_a_mask_that_is_sent_back_keeps_the_stored_value(guarded: RunningService, document: Any):
    guarded.save(document)
    shown = read(guarded, "run")
    response = put(guarded, shown.json()["data"], shown.headers["etag"])
    assert response.status_code == 200, response.text
    assert response.json()["data"] == document
    assert stored(guarded) == document
    changed = shown.json()["data"]
    changed["nodes"][0]["label"] = "New"
    assert put(guarded, changed, response.headers["etag"]).status_code == 200
    assert stored(guarded) == {
        **document,
        "nodes": [{**document["nodes"][0], "label": "New"}, *document["nodes"][1:]],
    }


def test_a_document_returned_in_the_other_format_keeps_its_secrets(guarded: RunningService):
    guarded.save(MAIN)
    masked = read(guarded, "read").json()["data"]["nodes"]
    nodes = [{"id": it["id"], "type": it["type"], "data": it["config"]} for it in masked]
    assert put(guarded, {"nodes": nodes, "edges": []}).status_code == 200
    assert [it["data"] for it in stored(guarded)["nodes"]] == [HOOK, HTTP, BANK]


def test_rows_that_were_moved_inserted_or_removed_keep_their_own_secrets(guarded: RunningService):
    guarded.save(MAIN)
    data = read(guarded, "read").json()["data"]
    headers = data["nodes"][1]["config"]["httpHeaders"]
    data["nodes"][1]["config"]["httpHeaders"] = [headers[2], {"key": "A", "value": "b"}, headers[1]]
    del data["nodes"][2]["config"]["accounts"][0]
    data["nodes"].reverse()
    assert put(guarded, data).status_code == 200
    bank_, call, _ = stored(guarded)["nodes"]
    assert [row["value"] for row in call["config"]["httpHeaders"]] == [
        "hush-key",
        "b",
        "Bearer hush-bearer",
    ]
    assert bank_["config"]["accounts"] == BANK["accounts"][1:]


def test_a_secret_that_is_sent_replaces_the_stored_one(guarded: RunningService):
    guarded.save(MAIN)
    data = read(guarded, "read").json()["data"]
    data["nodes"][0]["config"]["webhookToken"] = "another"
    data["nodes"][1]["config"]["httpAuth"]["password"] = ""
    assert put(guarded, data).status_code == 200
    hook, call, _ = stored(guarded)["nodes"]
    assert hook["config"] == {**HOOK, "webhookToken": "another"}
    assert call["config"]["httpAuth"]["password"] == ""


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        ({"id": "new", "type": "webhook", "config": {"webhookToken": MASK}}, "config/webhookToken"),
        (
            {"id": "call", "type": "http", "data": {"httpAuth": {"type": "bearer", "token": MASK}}},
            "data/httpAuth/token",
        ),
        (
            {"id": "hook", "type": "http", "config": {"httpHeaders": {"Cookie": MASK}}},
            "config/httpHeaders/Cookie",
        ),
        (
            {"id": "bank", "type": "bank", "config": {"accounts": [{"passWord": MASK}]}},
            "config/accounts/0/passWord",
        ),
    ],
)
def test_a_mask_without_a_stored_value_is_rejected(
    guarded: RunningService, node: dict[str, Any], pointer: str
):
    guarded.save(MAIN)
    for response, where in (
        (put(guarded, {"nodes": [node]}), f"/data/nodes/0/{pointer}"),
        (
            guarded.http.post(
                "/api/workflows",
                json={"name": "n", "data": {"nodes": [node]}},
                headers=as_("admin"),
            ),
            f"/data/nodes/0/{pointer}",
        ),
        (
            guarded.http.post(
                "/api/workflows/execute", json={"graph": {"nodes": [node]}}, headers=as_("run")
            ),
            f"/graph/nodes/0/{pointer}",
        ),
    ):
        (error,) = problem_of(response, 422)["errors"]
        assert (error["code"], error["pointer"]) == ("masked_value", where)
        assert error["nodeId"] == node["id"]
        assert MASK in error["detail"]
    assert stored(guarded) == MAIN


def test_a_single_node_is_not_run_with_a_mask(guarded: RunningService):
    body = {
        "workflowId": "w",
        "nodeId": "n",
        "nodeType": "http",
        "node": {
            "config": {
                "httpUrl": "http://127.0.0.1:9",
                "httpAuth": {"type": "bearer", "token": MASK},
            }
        },
    }
    response = guarded.http.post("/api/nodes/execute", json=body, headers=as_("run"))
    (error,) = problem_of(response, 422)["errors"]
    assert error["pointer"] == "/node/config/httpAuth/token"


def test_a_mask_in_another_field_is_an_ordinary_value(guarded: RunningService):
    guarded.save(MAIN)
    node = {"id": "f", "type": "addField", "config": {"addFieldName": "a", "addFieldValue": MASK}}
    assert put(guarded, {"nodes": [node]}).status_code == 200
    assert stored(guarded)["nodes"] == [node]


# Versions


def test_the_masked_document_has_a_separate_etag_for_the_same_version(guarded: RunningService):
    guarded.save(MAIN)
    put(guarded, MAIN | {"v": 1})
    shown, full = read(guarded, "read"), read(guarded, "admin")
    tags = shown.headers["etag"], full.headers["etag"]
    assert tags[0] != tags[1]
    for name, tag, status in (
        ("read", tags[0], 304),
        ("admin", tags[1], 304),
        ("read", tags[1], 200),
        ("admin", tags[0], 200),
    ):
        headers = {**as_(name), "If-None-Match": tag}
        assert guarded.http.get("/api/workflows/w", headers=headers).status_code == status
    assert put(guarded, shown.json()["data"] | {"v": 2}, tags[0]).status_code == 200
    problem_of(put(guarded, shown.json()["data"] | {"v": 3}, tags[0]), 412)
    problem_of(put(guarded, shown.json()["data"] | {"v": 3}, tags[1]), 412)
    assert stored(guarded)["v"] == 2


def test_a_workflow_without_secrets_has_one_tag(guarded: RunningService):
    guarded.save({"nodes": [{"id": "a", "type": "trigger"}]})
    assert read(guarded, "read").headers["etag"] == read(guarded, "admin").headers["etag"]


def test_masks_that_are_sent_while_others_change_the_secret_keep_a_stored_one(
    guarded: RunningService,
):
    guarded.save(MAIN)
    masked = read(guarded, "read").json()["data"]
    tokens = [f"token-{number}" for number in range(8)]

    def change(number: int) -> int:
        data = copy.deepcopy(masked)
        if number % 2:
            data["nodes"][0]["config"]["webhookToken"] = tokens[number]
        return put(guarded, data | {"v": number}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(change, range(8))) <= {200, 412}
    assert stored(guarded)["nodes"][0]["config"]["webhookToken"] in {"hush-token", *tokens}
    assert stored(guarded)["nodes"][1] == MAIN["nodes"][1]
