"""The Grafana dashboard and the documentation name exactly the metrics that the service returns."""

import json
import re
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.service_metrics import QueueWatch, watch_service
from api.streaming.broadcaster import EventBroadcaster
from config import ROOT
from database import Database
from metrics import PREFIX, Metrics

DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8")
)
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
PAGE = (ROOT / "docs" / "howto" / "monitor.md").read_text(encoding="utf-8")
_NAME = re.compile(rf"\b(?:{PREFIX}|process_)[a-z_]+\b")
_PARTS = re.compile("_(bucket|count|sum)$")


@pytest.fixture
async def families(tmp_path) -> dict[str, set[str]]:
    """The names of all metrics, each with its labels."""
    metrics = Metrics(["http"])
    metrics.execution_ended("completed")
    metrics.node_ended("http", "completed", 1)
    metrics.node_retried("http")
    metrics.callback_attempted("delivered")
    metrics.database_used("read", 1)
    metrics._lag_seconds.labels("http")
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'database.sqlite'}")
    try:
        await database.prepare()
        queue = QueueWatch(database)
        await queue.refresh()
        watch_service(metrics, EventBroadcaster(database, 1), queue)
        text = metrics.render().decode()
    finally:
        await database.close()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_expression_names_a_metric_and_its_labels(families: dict[str, set[str]]):
    for expression in EXPRESSIONS:
        names = _NAME.findall(expression)
        assert names
        for name in names:
            assert name in families, expression
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            allowed = set().union(*(families[name] for name in names)) | {"instance", "job"}
            assert {label.strip() for label in labels.split(",")} <= allowed, expression


def test_every_metric_has_a_panel_and_a_description(families: dict[str, set[str]]):
    shown = {_PARTS.sub("", name) for text in EXPRESSIONS for name in _NAME.findall(text)}
    described = set(re.findall(rf"^\| `({PREFIX}[a-z_]+)", PAGE, re.MULTILINE))
    own = {_PARTS.sub("", name) for name in families if name.startswith(PREFIX)}
    assert own == described
    assert own <= shown


def test_the_alerts_of_the_page_name_metrics(families: dict[str, set[str]]):
    known = {_PARTS.sub("", name) for name in families}
    assert set(_NAME.findall(PAGE)) - {"process_"} <= known


def test_the_panels_are_placed_without_overlap():
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]}
    assert len(places) == len(DASHBOARD["panels"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
