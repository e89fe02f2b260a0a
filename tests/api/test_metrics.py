"""Metrics: they count the events of this process, with a fixed set of labels."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from api import service_metrics
from engine.status import OPEN
from metrics import OTHER, PREFIX, Metrics
from tests.api.test_health import locked
from tests.support.access import ENTRIES, as_
from tests.support.documents import document, node
from tests.support.postgres import on_both
from tests.support.probe_nodes import PROBE_TYPES, Gates
from tests.support.servers import Request, Response, serving
from tests.support.service import RunningService, wait_until
from tests.support.stream_clients import sse

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(service: RunningService) -> Samples:
    response = service.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


@pytest.fixture
def measured(
    tmp_path: Path, storage: dict, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningService]:
    """A service whose queue is read at each scrape."""
    monkeypatch.setattr(service_metrics, "REUSE_SECONDS", 0.0)
    settings = {"max_concurrent_executions": 1, **storage}
    with RunningService(tmp_path, PROBE_TYPES, **settings) as running:
        yield running


@on_both()
def test_open_tasks_and_kept_events(measured: RunningService):
    samples = scrape(measured)
    assert value(samples, "open_tasks") == value(samples, "kept_events") == 0
    asking = document(node("start", "trigger"), node("ask", "approval"), flow=("start -> ask",))
    execution_ids = [measured.start(asking) for _ in range(2)]
    measured.http.post("/api/events", json={"name": "paid"})
    wait_until(lambda: value(scrape(measured), "open_tasks") == 2)
    assert value(scrape(measured), "kept_events") == 1
    measured.http.post(f"/api/executions/{execution_ids[0]}/nodes/ask/resume")
    measured.ended(execution_ids[0])
    assert value(scrape(measured), "open_tasks") == 1


@on_both()
def test_executions_and_the_queue(measured: RunningService, gates: Gates):
    assert value(scrape(measured), "queue_depth") == 0
    gated = document(node("gate", "gate", gate="g"))
    first = measured.start(gated)
    gates.wait_for("g")
    others = [measured.start(gated) for _ in range(2)]
    samples = scrape(measured)
    assert value(samples, "database_up") == 1
    assert value(samples, "open_executions", status="running") == 1
    assert value(samples, "open_executions", status="pending") == 2
    assert value(samples, "open_executions", status="waiting") == 0
    assert value(samples, "queue_depth") == 2
    wait_until(lambda: value(scrape(measured), "queue_oldest_seconds") > 0)
    gates.open("g")
    for execution_id in (first, *others):
        measured.ended(execution_id)
    wait_until(lambda: value(scrape(measured), "executions_ended_total", status="completed") == 3)
    samples = scrape(measured)
    assert value(samples, "queue_depth") == value(samples, "queue_oldest_seconds") == 0
    assert value(samples, "node_duration_seconds_count", type="gate", result="completed") == 3


def test_node_results_and_retries(measured: RunningService):
    flaky = node("a", "http", httpUrl="http://127.0.0.1:1/", retries=2, retryDelaySeconds=0)
    assert measured.run(document(flaky))["status"] == "failed"
    parked = measured.start(document(node("a", "wait", waitSeconds=3600)))
    wait_until(lambda: measured.poll(parked)["status"] == "waiting")
    samples = scrape(measured)
    assert value(samples, "node_retries_total", type="http") == 2
    assert value(samples, "node_duration_seconds_count", type="http", result="failed") == 1
    assert value(samples, "node_duration_seconds_count", type="wait", result="parked") == 1
    assert value(samples, "executions_ended_total", status="failed") == 1
    assert value(samples, "open_executions", status="waiting") == 1


def test_callbacks(measured: RunningService):
    async def accept(_request: Request) -> Response:
        return Response(204)

    with serving(accept) as url:
        measured.run(document(node("a")), callbackUrl=url)
        wait_until(lambda: value(scrape(measured), "callbacks_total", result="delivered") == 1)
    measured.run(document(node("a")), callbackUrl=f"{url}/closed")
    wait_until(lambda: value(scrape(measured), "callbacks_total", result="failed") == 1)


def test_stream_clients_the_database_and_the_event_loops(measured: RunningService, gates: Gates):
    execution_id = measured.start(document(node("gate", "gate", gate="g")))
    gates.wait_for("g")
    with sse(measured, f"/api/executions/{execution_id}/stream"):
        wait_until(lambda: value(scrape(measured), "stream_clients", kind="subscription") == 1)
    gates.open("g")
    measured.ended(execution_id)
    samples = scrape(measured)
    assert value(samples, "database_duration_seconds_count", operation="write") > 2
    assert value(samples, "database_duration_seconds_count", operation="read") > 2
    for loop in ("http", "flows"):
        wait_until(
            lambda: value(scrape(measured), "event_loop_lag_seconds_count", loop=loop) > 0  # noqa: B023
        )


def test_without_a_database_the_process_is_still_measured(
    measured: RunningService, monkeypatch: pytest.MonkeyPatch
):
    measured.write("ALTER TABLE orchestrator_runs RENAME TO moved")
    samples = scrape(measured)
    assert value(samples, "database_up") == 0
    assert not any(name == "queue_depth" for name, _ in samples)
    measured.write("ALTER TABLE moved RENAME TO orchestrator_runs")
    assert value(scrape(measured), "database_up") == 1


def test_a_locked_database_can_be_measured(measured: RunningService):
    with locked(measured.path):
        assert value(scrape(measured), "database_up") == 1


def test_only_keys_of_all_organizations_read_the_metrics(tmp_path: Path):
    with RunningService(tmp_path, api_keys=ENTRIES) as running:
        assert running.http.get("/metrics").status_code == 401
        assert running.http.get("/metrics", headers=as_("a-admin")).status_code == 403
        assert running.http.get("/metrics", headers=as_("read")).status_code == 200


def test_labels_have_a_fixed_set_of_values(measured: RunningService):
    for organization in range(20):
        graph = document(node("a", f"unknown-{organization}"))
        measured.http.post(
            "/api/nodes/execute", json={"nodeType": f"t{organization}", "node": graph["nodes"][0]}
        )
        measured.run(document(node("a")), organizationId=f"tenant-{organization}")
    text = measured.http.get("/metrics").text
    assert "tenant-" not in text
    assert "unknown-" not in text
    labels = {
        label
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for label in sample.labels
    }
    assert labels == {"type", "result", "le", "operation", "loop", "kind", "status"}


def test_an_unknown_node_type_is_counted_as_other():
    metrics = Metrics(["http"])
    for index in range(100):
        metrics.node_ended(f"type-{index}", "failed", 0.1)
        metrics.node_retried(f"type-{index}")
    text = metrics.render().decode()
    assert f'{PREFIX}node_retries_total{{type="{OTHER}"}} 100.0' in text
    assert "type-" not in text


def test_recoveries_and_lost_leases_are_counted_separately():
    metrics = Metrics()
    metrics.execution_recovered()
    metrics.lease_lost()
    metrics.lease_lost()
    text = metrics.render().decode()
    assert f"{PREFIX}execution_recoveries_total 1.0" in text
    assert f"{PREFIX}lost_leases_total 2.0" in text


def test_the_process_wide_registry_is_not_used():
    Metrics(["http"]).node_ended("http", "completed", 1)
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith(PREFIX)]


def test_every_open_status_has_a_value(measured: RunningService):
    statuses = {
        dict(labels)["status"] for name, labels in scrape(measured) if name == "open_executions"
    }
    assert statuses == set(OPEN)
