"""Model usage: tokens and cost of model nodes, of executions and of workflows."""

import json
from collections.abc import Iterator

import pytest

from tests.support.documents import document, node
from tests.support.fixtures import ConfiguredService
from tests.support.llm_server import completion
from tests.support.postgres import on_both, storage_on
from tests.support.servers import Request, Response, serving
from tests.support.service import RunningService

# In other set-ups, services and workers without the key of the model run the executions too.
pytestmark = [pytest.mark.behavior, pytest.mark.one_process]

PRICES = {"small": {"input": 0.5, "output": 2}, "large": {"input": 10, "output": 40}}
LONG = "a reply" * 2_000


async def _reply(request: Request) -> Response:
    asked = request.json["messages"][-1]["content"]
    # A reply that looks like the usage must not be read as such.
    text = LONG if "long" in asked else 'x", "model": "fake", "usage":{"totalTokens": 1}'
    return completion(text, tokens=(1_000, 500))


@pytest.fixture(scope="module")
def models(
    request: pytest.FixtureRequest, configured_service: ConfiguredService
) -> Iterator[RunningService]:
    with serving(_reply) as url, storage_on(request) as storage:
        settings = {"openai_api_key": "sk-1", "openai_base_url": f"{url}/v1"}
        settings |= {"llm_prices": json.dumps(PRICES), "http_allow_private_networks": True}
        with configured_service(storage, **settings) as service:
            yield service


def run(service: RunningService, workflow_id: str) -> str:
    """Run a saved workflow to its end, and return the id of the execution."""
    execution_id = service.submit(workflow_id).json()["executionId"]
    return service.ended(execution_id)["executionId"]


def ask(node_id: str, model: str, prompt: str = "short", **config: object) -> dict:
    return node(node_id, "llm", llmModel=model, llmPrompt=prompt, **config)


@on_both("models")
def test_an_execution_shows_the_tokens_and_the_cost_of_its_nodes(models: RunningService) -> None:
    rows = node("rows", "manualInput", inputVarName="rows", inputVarValue=[1, 2])
    drawn = document(
        rows,
        node("each", "forEach", forEachItems="{{ rows }}"),
        ask("first", "small", llmIncludeInput=False),
        ask("second", "large", "long"),
        flow=("rows -> each", "each -item-> first", "rows -> second"),
    )
    execution_id = models.run(drawn)["executionId"]
    usage = models.http.get(f"/api/executions/{execution_id}/usage").json()
    nodes = {entry["nodeId"]: entry for entry in usage.pop("nodes")}
    counts = {"promptTokens": 1_000, "completionTokens": 500, "totalTokens": 1_500}
    small = {"model": "small", **counts, "costUsd": 0.0015}
    assert nodes == {
        "first[0]": {"nodeId": "first[0]", **small},
        "first[1]": {"nodeId": "first[1]", **small},
        "second": {"nodeId": "second", "model": "large", **counts, "costUsd": 0.03},
    }
    total = {"promptTokens": 3_000, "completionTokens": 1_500, "totalTokens": 4_500}
    assert usage == {"executionId": execution_id, **total, "costUsd": 0.033}


@on_both("models")
def test_a_workflow_shows_its_last_executions_and_reused_results_cost_nothing(
    models: RunningService,
) -> None:
    drawn = document(
        node("begin", "trigger"),
        ask("a", "small"),
        ask("b", "unpriced"),
        node("bad", "raise", message="no"),
        flow=("begin -> a", "a -> b", "b -> bad"),
    )
    models.save(drawn, "asks")
    models.save(document(node("begin", "trigger")), "silent")
    first = run(models, "asks")
    again = models.http.post(f"/api/executions/{first}/rerun", json={"fromNodeId": "b"}).json()
    second = models.ended(again["executionId"])["executionId"]
    silent = run(models, "silent")
    usage = models.http.get("/api/workflows/asks/usage").json()
    # The cost is unknown as soon as one model has no price.
    fields = ("executionId", "totalTokens", "costUsd")
    assert [tuple(entry[name] for name in fields) for entry in usage["executions"]] == [
        (second, 1_500, None),
        (first, 3_000, None),
    ]
    limited = models.http.get("/api/workflows/asks/usage?limit=1").json()
    assert [entry["executionId"] for entry in limited["executions"]] == [second]
    empty = models.http.get(f"/api/executions/{silent}/usage").json()
    assert (empty["totalTokens"], empty["costUsd"], empty["nodes"]) == (0, None, [])
    assert models.http.get("/api/workflows/silent/usage").json()["executions"] == []
    for path in ("executions/none/usage", "workflows/none/usage"):
        assert models.http.get(f"/api/{path}").status_code == 404
