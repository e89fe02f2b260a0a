"""Workflow limits: a document may declare how many of its executions run at a time."""

import json

import pytest

from engine.document import read_document
from engine.json_values import JsonValue
from engine.workflow_limits import LIMIT_KEY, MAX_LIMIT, declared_limit, limit_in


@pytest.mark.parametrize(
    ("document", "limit"),
    [
        ({"settings": {LIMIT_KEY: 2}, LIMIT_KEY: 3}, 2),
        ({"settings": {LIMIT_KEY: None}, LIMIT_KEY: 3}, 3),
        ({"settings": "other", LIMIT_KEY: "12"}, 12),
        ({"settings": {LIMIT_KEY: 2.0}}, 2),
        ({"settings": {LIMIT_KEY: ""}}, None),
        ({"settings": {LIMIT_KEY: MAX_LIMIT}}, MAX_LIMIT),
        ({"nodes": [{"config": {LIMIT_KEY: 1}}]}, None),
        ([LIMIT_KEY], None),
    ],
)
def test_a_document_declares_a_limit(document: JsonValue, limit: int | None) -> None:
    assert declared_limit(document) == (limit, None)
    assert limit_in(json.dumps(document)) == limit


def test_an_unreadable_document_declares_no_limit() -> None:
    assert limit_in(f'{{"{LIMIT_KEY}": ') is None


@pytest.mark.parametrize(
    "value", [0, -1, 1.5, True, MAX_LIMIT + 1, "0", "one", "²", "1" * 40, [], {}]
)
@pytest.mark.parametrize("place", ["/settings", ""])
def test_an_invalid_limit_is_rejected_with_its_place(value: JsonValue, place: str) -> None:
    fields: dict[str, JsonValue] = {LIMIT_KEY: value}
    found = {"settings": fields} if place else fields
    (problem,) = read_document({"nodes": [], **found}).problems
    assert (problem.code, problem.pointer) == ("invalid_execution_limit", f"{place}/{LIMIT_KEY}")
    assert f"from 1 to {MAX_LIMIT}" in problem.detail
