"""Stopped record nodes: every loop over records checks whether its node was stopped."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tasks.node_handlers import NODE_HANDLERS
from tasks.records import aggregate, join, records, split_columns

COUNT = 30
RECORDS = [{"id": number, "group": number, "text": "a,b"} for number in range(COUNT)]


def _fields(data: Any) -> list[dict[str, Any]]:
    records.require_fields(data, [f"f{number}" for number in range(COUNT)])
    return data


def _run(node_type: str, data: Any, **config: Any) -> Callable[[], Any]:
    return lambda: NODE_HANDLERS[node_type].fn({"config": config}, data)


TOTALS = [{"operation": "sum", "field": "id", "as": "total"}]
ALL_FIELDS = [{f"f{number}": 1 for number in range(COUNT)}]


@pytest.mark.parametrize(
    ("module", "work"),
    [
        (
            aggregate,
            _run("aggregate", RECORDS, aggregateGroupBy=["group"], aggregateOperations=TOTALS),
        ),
        (join, _run("join", {"A": RECORDS, "B": RECORDS}, joinStrategy="mergeByKey", joinKey="id")),
        (
            split_columns,
            _run("splitColumns", RECORDS, columnsOutputA=["id"], columnsOutputB=["text"]),
        ),
        (
            records,
            lambda: (records.map_records(RECORDS, dict), _fields(ALL_FIELDS)),
        ),
    ],
    ids=["aggregate", "join", "splitColumns", "records"],
)
def test_every_record_is_a_place_to_stop(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, work: Callable[[], Any]
):
    checks: Counter[int] = Counter()
    monkeypatch.setattr(module, "check_stop", lambda: checks.update([sys._getframe(1).f_lineno]))
    work()
    places = [
        number
        for number, text in enumerate(inspect.getsource(module).splitlines(), 1)
        if text.strip() == "check_stop()"
    ]
    assert sorted(checks) == places
    assert min(checks.values()) >= COUNT
    assert len(places) >= {aggregate: 4, join: 3, split_columns: 1, records: 2}[module]
