"""Expressions in templates: paths, defaults and filters, and all other syntax is rejected."""

import inspect
import sys
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TemplateError
from engine.json_values import MISSING, json_error
from tasks.context import NodeRun, enter_node_run
from tasks.templating.expressions import (
    _ENVIRONMENT,  # pyright: ignore[reportPrivateUsage] - to record which filters run
    MAX_EXPRESSION_CHARS,
    MAX_NESTING,
    compile_expression,
)
from tasks.templating.filters import FILTERS, text_limit
from tasks.templating.render import MAX_FILTERED_PLACEHOLDERS, render, template_errors
from tests.support.generated import examples

DATA = {
    "name": " Ada ",
    "age": 36.5,
    "none": None,
    "rows": [{"id": 1}, {"id": 2}],
    "empty": [],
    "at": "2026-11-23T08:05:00+01:00",
    "a": {"b": {"c": "deep"}},
    "order-id": "o-7",
    "first name": "Augusta",
    "é": "accent",
    "2nd": "second",
    "items": [5, 6],
    "keys": "k",
    "get": {"format": "f"},
    "price (EUR)": 9,
    "__typename": "Order",
    "sly": "{{ name }}",
    "quote": 'say "hi"',
}
OUTPUTS = {"fetch": {"total": 7, "rows": [1, 2]}, "my-node": "text", "v1.2": {"x": 1}}


@pytest.fixture(autouse=True)
def _in_an_execution() -> Iterator[None]:
    enter_node_run(
        NodeRun(
            execution_id="e1",
            node_id="n1",
            inputs=lambda: {"customer": {"id": 5}, "now": "given"},
            output_of=lambda node_id: OUTPUTS.get(node_id, MISSING),
        )
    )
    yield
    enter_node_run(NodeRun())


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ gone | default('y') }}", "y"),
        ("{{ a.gone.c | default('y') }}", "y"),
        ("{{ gone.b.c | default(5) }}", 5),
        ("{{ a.b.c | default('y') }}", "deep"),
        ("{{ gone | default(order.id) | default(true) }}", True),
        ("{{ gone | default(a.b) }}", {"c": "deep"}),
        ("{{ name | default(gone) }}", " Ada "),
        ("{{ none | default('y') }}", None),
        ("{{ none | default('y', true) }}", "y"),
        ("{{ empty | first | default('none there') }}", "none there"),
        ("{{ gone | default('a|b') }}!", "a|b!"),
        ("{{ order-id | default('x') }}", "o-7"),
        ("{{ first name | upper }}", "AUGUSTA"),
        ("{{ é|upper }}", "ACCENT"),
        ("{{ 2nd | upper }}", "SECOND"),
        ("{{ items }}", [5, 6]),
        ("{{ items.0 }}", 5),
        ("{{ items | length }}", 2),
        ("{{ keys }}", "k"),
        ("{{ get.format | upper }}", "F"),
        ("{{ rows.1.id | int }}", 2),
        ("{{ rows[1].id }}", 2),
        ("{{ rows[1]['id'] }}", 2),
        ("{{ input['price (EUR)'] }}", 9),
        ("{{ __typename | lower }}", "order"),
        ("{{ name | trim | upper | length }}", 3),
        ("{{ rows | json }}", '[{"id":1},{"id":2}]'),
        ('{"q": {{ quote | json }}}', '{"q": "say \\"hi\\""}'),
        ("{{ age | round }}", 36),
        ("{{ age | round(1) }}", 36.5),
        ("{{ age | int }}", 36),
        ("{{ items | join(' and ') }}", "5 and 6"),
        ("{{ items | last }}", 6),
        ("{{ at | date }}", "2026-11-23"),
        ("{{ at | date('%d.%m.%Y %H:%M') }}", "23.11.2026 08:05"),
        ("{{ '0033-04-03' | date }}", "0033-04-03"),
        ("{{ '0033-04-03T12:00' | date('%Y/%G %%Y') }}", "0033/0033 %Y"),
        ("{{ 'text' | upper }}", "TEXT"),
        ("{{ '{{' }} as it is", "{{ as it is"),
        ("{{ sly | trim }}", "{{ name }}"),
        ("{{ inputs.customer.id }}", 5),
        ("{{ inputs }}", {"customer": {"id": 5}, "now": "given"}),
        ("{{ inputs.gone | default('-') }}", "-"),
        ("{{ nodes.fetch.output.total }}", 7),
        ("{{ nodes.fetch.output.rows.1 }}", 2),
        ("{{ nodes.fetch.output }}", {"total": 7, "rows": [1, 2]}),
        ("{{ nodes.my-node.output }}", "text"),
        ("{{ nodes['my-node'].output | upper }}", "TEXT"),
        ("{{ nodes.v1.2.output.x }}", 1),
        ("{{ nodes['v1.2'].output.x }}", 1),
        ("{{ nodes.later.output | default('not yet') }}", "not yet"),
        ("{{ execution.id }}", "e1"),
        ("{{ now | length }}", len("2026-11-23T08:05:00.123Z")),
    ],
)
def test_an_expression_has_its_value(template: str, value: Any):
    assert render(template, DATA) == value
    assert list(template_errors(template)) == []


@pytest.mark.parametrize("text", ["{% if x %}{# no #}{% endif %}", "{%- raw -%}", "{# {{ #}"])
def test_statements_and_comments_are_literals(text: str):
    assert render(text, DATA) == text
    assert list(template_errors(text)) == []


def test_statements_next_to_a_placeholder_are_unchanged():
    assert render("{% for x in y %}{{ keys }}{# c #}", DATA) == "{% for x in y %}k{# c #}"


def test_a_field_of_the_input_takes_precedence_over_a_built_in_name():
    data = {"now": 1, "inputs": {"customer": 2}, "nodes": {"fetch": {"output": 3}}}

    assert render("{{ now }} {{ inputs.customer }} {{ nodes.fetch.output }}", data) == "1 2 3"
    assert render("{{ nodes['fetch'].output }}", data) == 3
    assert render("{{ input.now }}", data) == 1
    assert render("{{ inputs.now }}", data) == "given"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ gone | upper }}", "the input has no field 'gone'"),
        ("{{ gone | default(lost) }}", "the input has no field 'lost'"),
        ("{{ gone['x y'] }}", "the input has no field 'gone.x y'"),
        ("{{ nodes.later.output }}", "node 'later' has no output"),
        ("{{ nodes.fetch.output.gone }}", "the output of node 'fetch' has no field 'gone'"),
        ("{{ nodes.fetch.result }}", "node 'fetch' has no result"),
        ("{{ nodes }}", "should be nodes.<id>.output"),
        (
            "{{ inputs.gone }}",
            "the inputs of the execution have no field 'inputs.gone' (it has: customer, now)",
        ),
        ("{{ execution.status }}", "use execution.id"),
        ("{{ now.year }}", "now is a string"),
        ("{{ none | upper }}", "'upper' accepts a string, not a value of type null"),
        ("{{ rows | trim }}", "'trim' accepts a string, not a value of type list"),
        ("{{ age | length }}", "'length' accepts a string, a list or an object"),
        ("{{ name | int }}", "'int' accepts a number, not ' Ada '"),
        ("{{ age | round(99) }}", "'round' accepts 0 to 15"),
        ("{{ name | date }}", "'date' accepts an ISO 8601 timestamp, not ' Ada '"),
        ("{{ at | date('%999999999Y') }}", "'date' does not support the format"),
        ("{{ name | join }}", "'join' accepts a list"),
        ("{{ empty | last }}", "the value of 'first' or 'last' is empty"),
    ],
)
def test_a_missing_or_unsuitable_value_is_named(template: str, message: str):
    with pytest.raises(TemplateError) as error:
        render(f"so: {template}", DATA)

    assert message in str(error.value)
    assert error.value.retryable is False
    if "|" in template:
        assert "at character 5" in str(error.value)


INVALID = {
    "''.__class__": "not allowed",
    "''.__class__.__mro__[1].__subclasses__()": "a call",
    "name.upper()": "a call",
    "range(10**9)": "a call",
    "lipsum()": "a call",
    "cycler.__init__.__globals__['os'].popen('id')": "a call",
    "self._TemplateReference__context": None,
    "name['__class__']['__mro__']": None,
    "name | attr('__class__')": "unknown filter 'attr'",
    "name | map('upper')": "unknown filter 'map'",
    "name | format('x')": "unknown filter 'format'",
    "'a' * 10**9": "an operator",
    "2**10**9": "an operator",
    "age + 1": "an operator",
    "age / 2": "an operator",
    "name ~ name": "an operator",
    "-(1)": "an operator",
    "age > 1": "a comparison",
    "'x' in name": "a comparison",
    "'x' if age else 'y'": "if and else",
    "name is defined()": "a test",
    "rows[0:1]": "the content of these brackets",
    "rows[a.b]": "the content of these brackets",
    "[1, 2]": "a literal list or object",
    "{'a': 1": "is not a valid expression",
    "name, age": "is not a valid expression",
    "('a', 'b')": "a literal list or object",
    "name | upper(1)": "the filter 'upper': too many positional arguments",
    "name | upper(*rows)": "* and **",
    "name | default(**rows)": "* and **",
    "name | default(range(9))": "a call",
    "name |": "is not a valid expression",
    "name | | upper": "is not a valid expression",
    "'open": "is not a valid expression",
    "name)": "is not a valid expression",
    "(" * 500 + ")" * 400: "more than 20 brackets",
    "not " * 240 + "(1)": "an operator",
    "name" + " | upper" * (MAX_NESTING + 1): "more than 20",
    "'" + "a" * MAX_EXPRESSION_CHARS + "'": f"more than {MAX_EXPRESSION_CHARS}",
    "name | default(1e999)": "contains a value that is not valid JSON",
    "name | default('\\ud800')": "contains a value that is not valid JSON",
    "": "does not name a field",
}


@pytest.mark.parametrize(("expression", "reason"), INVALID.items(), ids=lambda text: str(text)[:30])
def test_other_expressions_are_rejected_with_and_without_data(expression: str, reason: str | None):
    text = f"so {{{{ {expression} }}}}"
    with pytest.raises(TemplateError) as error:
        render(text, DATA)
    if reason is None:
        # It is a path into JSON, and the input has no such field.
        assert "the input has no field" in str(error.value)
        return
    ((_, message),) = template_errors(text)
    assert message == str(error.value)
    assert reason in message
    assert "at character 4" in message


def test_a_python_attribute_is_an_ordinary_field_name():
    assert (
        render("{{ x.__class__ }}{{ x['__init__'] }}", {"x": {"__class__": 1, "__init__": 2}})
        == "12"
    )
    for path in ("name.__class__", "rows.append", "a.items", "name['upper']", "a['keys']"):
        with pytest.raises(TemplateError, match="has no field"):
            render(f"{{{{ {path} }}}}", DATA)


def test_errors_have_paths_into_objects_and_lists():
    template = {"a": ["fine", {"b/c": "x {{ 1 + 1 }} {{ 2 ** 2 }}"}], "{{ f() }}": 1}

    assert [(place, reason[:25]) for place, reason in template_errors(template)] == [
        (("a", "1", "b/c"), "'{{ 1 + 1 }}' at characte"),
        (("a", "1", "b/c"), "'{{ 2 ** 2 }}' at charact"),
        (("{{ f() }}",), "'{{ f() }}' at character "),
    ]


def test_the_output_of_many_placeholders_is_limited():
    megabyte = {"x": "y" * 1_000_000, "rows": ["z" * 1_000_000]}
    enough = text_limit() // 1_000_000 + 1

    for template in (
        "-{{ x }}" * enough,
        ["{{ x }}"] * (enough + 1),
        ["{{ rows }}"] * (enough + 1),
    ):
        with pytest.raises(TemplateError, match=f"more than {text_limit()} characters"):
            render(template, megabyte)
    with pytest.raises(TemplateError, match="would have more than"):
        render("{{ rows | join(x) }}", {"rows": [""] * 20, "x": megabyte["x"]})


def test_the_size_of_a_single_value_is_not_limited():
    large = ["x" * (text_limit() + 1)]

    assert render("{{ rows }}", {"rows": large}) is large


def test_the_output_of_chained_filters_is_limited():
    """Each ``json`` doubles the backslashes of the previous one: 2,000 would create a gigabyte."""
    chain = "| json" * (MAX_NESTING - 1)

    for template in (f"{{{{ quotes {chain} }}}}", f"{{{{ quotes {chain} | length }}}}"):
        with pytest.raises(TemplateError, match=f"'json' would have more than {text_limit()}"):
            render(template, {"quotes": '"' * 2_000})


def test_an_expression_is_not_evaluated_while_it_is_checked(monkeypatch: pytest.MonkeyPatch):
    ran: list[object] = []
    monkeypatch.setitem(_ENVIRONMENT.filters, "json", ran.append)

    assert list(template_errors("{{ 'checked' | json }}")) == []
    compile_expression("'compiled' | json")
    assert ran == []
    render("{{ 'filled' | json }}", DATA)
    assert ran == ["filled"]


def test_the_number_of_placeholders_with_filters_is_limited():
    few = "".join(f"{{{{ {i} | json }}}}" for i in range(10))
    many = few * (MAX_FILTERED_PLACEHOLDERS // 10) + "{{ 'one more' | json }}"
    message = f"more than {MAX_FILTERED_PLACEHOLDERS} placeholders with filters"

    for template in (many, [few] * (MAX_FILTERED_PLACEHOLDERS // 10) + ["{{ 'one more' | json }}"]):
        ((_, reason),) = template_errors(template)
        assert message in reason
        with pytest.raises(TemplateError, match=message):
            render(template, DATA | {str(i): i for i in range(10)})
    assert list(template_errors(few * (MAX_FILTERED_PLACEHOLDERS // 10))) == []
    assert list(template_errors("{{ name }}" * MAX_FILTERED_PLACEHOLDERS * 2)) == []


def test_a_long_string_needs_the_memory_of_a_few_copies():
    long = "{{ " + "name." * 200_000 + " }}"
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="more than 1000"):
            render(long, DATA)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(long)


def test_the_filters_are_the_documented_ones():
    names = "date default first fromjson int join json last length lower round trim upper urlencode"
    assert sorted(FILTERS) == names.split()


pieces = st.lists(
    st.sampled_from(
        [
            *"()[]{}|.,'\"*+-~:=%#_",
            *("{{", "}}", "{%", " ", "name", "a.b", "rows", "0", "99999", "é", "nodes", "not"),
            *("default", "upper", "round", "date", "join", "__class__", "if", "else"),
        ]
    ),
    max_size=25,
).map("".join)


@examples(300)
@given(pieces)
def test_any_string_is_filled_or_rejected_quickly(text: str):
    before = time.process_time()
    for template in (text, f"{{{{{text}}}}}"):
        errors = list(template_errors(template))
        filled = attempt(template)
        assert isinstance(filled, TemplateError) or errors == []
        assert json_error(filled) is None or isinstance(filled, TemplateError)
    assert time.process_time() - before < 5


def attempt(template: str) -> Any:
    try:
        return render(template, DATA)
    except TemplateError as error:
        return error


def test_an_expression_that_exceeds_the_recursion_limit_is_rejected():
    def deeper(levels: int) -> list[str]:
        return (
            deeper(levels - 1)
            if levels
            else [r for _, r in template_errors("{{ " + text + "(1) }}")]
        )

    text = "not " * 240
    room = sys.getrecursionlimit() - len(inspect.stack()) - 200

    (reason,) = deeper(room)
    assert "is nested too deeply" in reason
