"""Forms of tasks: their schemas are checked, and no form or answer takes long."""

import json
from typing import Any

import pytest

from tasks.config.form_schema import (
    MAX_ANSWER_CHARS,
    MAX_ANSWER_CHECKS,
    answer_problems,
    form_error,
)

DRAFT_07 = "http://json-schema.org/draft-07/schema#"
LATEST = "https://json-schema.org/draft/2020-12/schema"


def field(**schema: Any) -> dict[str, Any]:
    """Return the form with one field ``a``."""
    return {"properties": {"a": schema}}


def reasons(form: dict[str, Any], a: object) -> list[str]:
    """Return the reasons why the field ``a`` does not match the form, which is valid."""
    assert form_error(form) is None
    return [problem.detail for problem in answer_problems(json.dumps(form), {"a": a})]


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"type": "string"}, "'type' should be 'object'"),
        (field(type="banana"), "at properties/a/type: 'banana'"),
        (field(minimum="x"), "at properties/a/minimum: 'x' is not of type 'number'"),
        (field(pattern="("), "the pattern '('"),
        (field(pattern="(?=x)"), "has look-around"),
        (field(patternProperties={"(a+)+$": {}}), "'patternProperties'"),
        (field(unevaluatedItems=False), "'unevaluatedItems'"),
        ({"$schema": LATEST, "unevaluatedProperties": False}, "'unevaluatedProperties'"),
        (field(**{"$id": "x"}), "'$id'"),
        # jsonschema checks such a part with its own keywords.
        (field(**{"$schema": DRAFT_07, "pattern": "^(a+)+$"}), "has a part with a '$schema'"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "unknown '$schema'"),
        ({"$schema": 5}, "unknown '$schema': '5'"),
        ({"$schema": ["x"]}, "unknown '$schema'"),
        (field(**{"$ref": "http://127.0.0.1/"}), "references should start with '#/'"),
        (field(**{"$ref": "#/definitions/b"}), "which does not exist"),
        ({"title": "t", **field(**{"$ref": "#/title"})}, "which is not a schema"),
        ({"definitions": {"x": {"$ref": "#/definitions/x"}}}, "a circle of references"),
        # Draft-07 does not know ``$defs``.
        ({"$defs": {"x": {"type": "banana"}}, "$ref": "#/$defs/x"}, "'banana'"),
        ({"allOf": [{}] * 5_000}, "too many or too deeply nested parts"),
        # jsonschema compares each pair of items that are not strings.
        (field(type=[{"a": i} for i in range(1_500)]), "'type' with an item that is not a string"),
        ({"required": [{}]}, "'required' with an item that is not a string"),
        ({"dependencies": {"a": [{}]}}, "'dependencies' with an item that is not a string"),
    ],
)
def test_a_form_that_cannot_be_used_is_rejected(form: dict[str, Any], reason: str):
    assert reason in str(form_error(form))


@pytest.mark.parametrize("name", ["$id", "patternProperties", "unevaluatedProperties", "$schema"])
def test_a_field_may_have_the_name_of_any_keyword(name: str):
    form = {"properties": {name: {"type": "string"}}, "required": [name]}
    assert form_error(form) is None
    assert answer_problems(json.dumps(form), {name: "x"}) == []
    assert [it.pointer for it in answer_problems(json.dumps(form), {name: 5})] == [f"/data/{name}"]


@pytest.mark.parametrize("draft", [{}, {"$schema": DRAFT_07}, {"$schema": LATEST}])
def test_patterns_are_matched_in_linear_time_in_every_draft(draft: dict[str, Any]):
    form = {**draft, "definitions": {"x": {"pattern": "^(a+)+$"}},
            **field(**{"$ref": "#/definitions/x"})}  # fmt: skip
    (reason,) = reasons(form, "a" * 60 + "!")
    assert reason.endswith("does not match '^(a+)+$'")


@pytest.mark.parametrize(
    ("value", "divisor", "is_multiple"),
    [
        (19.99, 0.01, True),
        (0.3, 0.1, True),
        (19.995, 0.01, False),
        (10**400, 0.01, True),
        (10**400 + 1, 10, False),
        (1e308, 1e-300, True),
        (7, 2.5, False),
        (True, 2, True),  # a boolean is not a number
    ],
)
def test_multiples_are_exact(value: float, divisor: float, is_multiple: bool):
    assert (reasons(field(multipleOf=divisor), value) == []) is is_multiple


@pytest.mark.parametrize(
    ("items", "position"),
    [
        ([1, True, "1", [1], {"b": [2]}, {"b": [2, None]}], None),
        ([1, 2, 1.0], 2),
        ([{"a": 1, "b": [2]}, {"b": [2], "a": 1}], 1),
        ([[], {}, ""], None),
        ([0, False, None], None),
    ],
)
def test_items_are_unique_as_json_values(items: list[Any], position: int | None):
    found = reasons(field(uniqueItems=True), items)
    expected = [] if position is None else [f"data.a: item {position} is equal to an earlier item"]
    assert found == expected
    assert reasons(field(uniqueItems=False), items) == []


class Counted:
    """A key of a set that counts how often it is compared."""

    compared = 0

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return self is other


def test_unique_items_are_not_compared_in_pairs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.config.form_keywords._key", lambda _: Counted())
    assert reasons(field(uniqueItems=True), [{"x": i} for i in range(1_000)]) == []
    assert Counted.compared < 100


@pytest.mark.parametrize("is_too_large", [False, True])
def test_the_work_for_an_answer_is_limited(is_too_large: bool):
    # The form, ``properties``, ``a`` and ``items`` have 1 + 1, 1 + 2 and 1 + 1 parts.
    form = field(type="array", items={"type": "number"})
    parts = 7
    found = reasons(form, [1] * (MAX_ANSWER_CHECKS // parts - 2 + is_too_large))
    assert (found != []) is is_too_large
    if is_too_large:
        assert (
            f"too large for this form of {parts} parts: it should have at most 71,428" in found[0]
        )


def test_the_reasons_of_failed_checks_cannot_fill_the_memory():
    form = {"anyOf": [field(type="number") for _ in range(900)]}
    (reason,) = reasons(form, "x" * (MAX_ANSWER_CHARS // 900))
    assert "too large for this form" in reason


def test_listed_values_count_as_parts_of_a_form():
    form = field(items={"enum": [{"x": i} for i in range(9_000)]})
    (reason,) = reasons(form, [1] * 1_000)
    assert "too large for this form" in reason


def test_the_first_hundred_problems_are_enough():
    assert len(reasons(field(items={"type": "string"}), list(range(10_000)))) == 101
