"""Properties of JSON values, documents, templates and paths."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.conditions import Comparison, Operator, holds
from engine.document import Document, parse_document
from engine.errors import InvalidDocumentError, NodeError, TemplateError
from engine.graph import Graph
from engine.json_values import MISSING, as_number, as_text, dump_json, json_error, load_json, lookup
from tasks.templating.render import render
from tests.support.documents import validate
from tests.support.generated import examples

thorough = examples(100)

texts = st.text(max_size=8)  # no surrogates: hypothesis leaves them out by itself
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
not_json = (
    st.just(float("nan"))
    | st.just(float("-inf"))
    | st.just("\ud800")
    | st.binary(max_size=3)
    | st.sets(st.integers(), min_size=1, max_size=2)
    | st.just(object())
)
anything = st.recursive(
    scalars | not_json,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)

nearly_json = st.lists(
    st.sampled_from(
        [
            *("[", "]", "{", "}", ":", ",", '"', "\\", "true", "null", '"a"', '"b"'),
            *("-1", "0.5", "1e999", "NaN", "\\ud800", "\\u00fc"),
        ]
    )
    | st.just("\udc00"),
    max_size=6,
).map("".join) | anything.map(lambda value: json.dumps(value, default=repr, ensure_ascii=False))

NAMES = ("id", "type", "label", "data", "config", "status", "from", "source", "target")
ENDS = ("fromNodeId", "toNodeId", "fromPort", "toPort", "outputType", "sourceHandle", "inputPort")
loose_fields = st.dictionaries(
    st.sampled_from(NAMES + ENDS),
    st.sampled_from(["a", "b", "1", "", 1, True, None, {}, [], 1.5, {"config": []}]) | json_values,
    max_size=6,
)
nearly_documents = st.fixed_dictionaries(
    {},
    optional={
        "nodes": st.lists(loose_fields | scalars, max_size=4) | json_values,
        "connections": st.lists(loose_fields | scalars, max_size=4) | json_values,
        "edges": st.lists(loose_fields | scalars, max_size=4) | json_values,
    },
)


def attempt(kind: type[Exception], call: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """Return the result of a call without an error, or no result with its error of that type."""
    try:
        return call(*args), None
    except kind as error:
        return None, error


settled_fields = st.fixed_dictionaries(
    {"id": texts | st.integers(), "type": texts, "config": st.dictionaries(texts, anything)}
)
documents = st.fixed_dictionaries({"nodes": st.lists(settled_fields, max_size=2)})


@thorough
@given(json_values)
def test_a_value_comes_back_from_the_database_as_it_was_stored(value: Any) -> None:
    assert load_json(dump_json(value)) == value
    assert load_json(dump_json(value).encode()) == value
    assert json_error(value) is None


@thorough
@given(anything)
def test_storable_values_can_be_read_and_others_are_rejected_with_a_reason(value: Any) -> None:
    text, error = attempt(ValueError, dump_json, value)

    assert json_error(value) == (str(error) if error else None)
    assert error or load_json(text) == value


@thorough
@given(st.text() | st.binary() | nearly_json)
def test_reading_json_raises_nothing_but_value_error(text: str | bytes) -> None:
    value, error = attempt(ValueError, load_json, text)

    assert error or load_json(dump_json(value)) == value


@thorough
@given(
    anything
    | nearly_documents
    | documents
    | documents.map(lambda data: json.dumps(data, default=repr))
    | st.text()
)
def test_a_document_is_read_or_rejected_with_reasons(data: Any) -> None:
    document, refused = attempt(InvalidDocumentError, parse_document, data)

    if refused:
        assert refused.problems
        assert all(problem.detail and problem.code for problem in refused.problems)
    else:
        assert isinstance(document, Document)
        assert isinstance(data, str | bytes) or json_error(data) is None


@thorough
@given(nearly_documents)
def test_a_readable_document_is_valid_or_rejected_with_pointers_into_it(data: Any) -> None:
    graph, refused = attempt(
        InvalidDocumentError,
        lambda: validate(parse_document(data), {"a", "b", "comment"}, lambda _: []),
    )

    if refused:
        assert all(points_into(data, problem.pointer) for problem in refused.problems)
    else:
        assert isinstance(graph, Graph)
        assert graph.roots


def points_into(data: Any, pointer: str) -> bool:
    """Whether all but the last step of a JSON pointer is there: the last may be what is missing."""
    steps = pointer.split("/")[1:-1]
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            data = data[int(name)] if isinstance(data, list) else data[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return False
    return True


pieces = st.sampled_from(
    ["{{", "}}", "{", "}", " ", "a", "a.b", "0", ".", "input", "x y", "ü", "\n"]
)
templates = st.lists(pieces, max_size=8).map("".join)
template_values = st.recursive(
    templates | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(templates, inner, max_size=3),
    max_leaves=6,
)
inputs = json_values | st.fixed_dictionaries(
    {"a": st.fixed_dictionaries({"b": json_values}) | json_values}, optional={"0": json_values}
)


@thorough
@given(template_values, inputs)
def test_a_template_is_filled_or_names_what_is_missing(template: Any, data: Any) -> None:
    filled, error = attempt(TemplateError, render, template, data)

    if error:
        assert str(error)
        assert not error.retryable
    else:
        assert json_error(filled) is None


@thorough
@given(templates, inputs)
def test_a_rendered_template_has_a_string_form(template: str, data: Any) -> None:
    filled, error = attempt(TemplateError, render, template, data)

    assert error or isinstance(as_text(filled), str)


@thorough
@given(json_values.filter(lambda value: "{{" not in json.dumps(value)), inputs)
def test_a_value_without_placeholders_is_not_changed(template: Any, data: Any) -> None:
    assert render(template, data) == template


@thorough
@given(texts, json_values)
def test_the_value_of_a_field_is_not_rendered_as_a_template(prefix: str, value: Any) -> None:
    data = {"field": "{{ field }}", "other": value}
    prefix = prefix.replace("{", "")

    assert render(f"{prefix}!{{{{ field }}}}", data) == f"{prefix}!{{{{ field }}}}"
    assert render("{{ other }}", data) == value


paths = st.lists(st.sampled_from(["a", "b", "0", "1", "", "-1", "²", "9" * 30]), max_size=5)


@thorough
@given(inputs | anything, texts | paths.map(".".join))
def test_every_path_can_be_looked_up_in_every_value(value: Any, path: str) -> None:
    found = lookup(value, path)

    assert found is MISSING or contains(value, found)


def contains(value: Any, wanted: Any) -> bool:
    if value is wanted:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(contains(item, wanted) for item in inner)


@thorough
@given(json_values, st.data())
def test_the_path_to_a_field_finds_it(value: Any, data: st.DataObject) -> None:
    steps: list[str] = []
    here = value
    while isinstance(here, dict | list) and here:
        keys = list(here) if isinstance(here, dict) else range(len(here))
        key = data.draw(st.sampled_from(keys))
        if isinstance(key, str) and "." in key:
            break
        steps.append(str(key))
        here = here[key]

    if steps:
        assert lookup(value, ".".join(steps)) is here


@thorough
@given(st.sampled_from(Operator), json_values | inputs, json_values, paths.map(".".join))
def test_a_test_holds_or_does_not_or_is_a_node_error(
    operator: Operator, record: Any, value: Any, path: str
) -> None:
    answer, error = attempt(NodeError, holds, Comparison(path, operator, value), record)

    if error:
        assert path in str(error)
        assert operator in str(error)
    else:
        assert isinstance(answer, bool)


@thorough
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_a_string_is_that_number(number: float) -> None:
    assert as_number(json.dumps(number)) == number
    assert as_number(f" {number} ") == number
