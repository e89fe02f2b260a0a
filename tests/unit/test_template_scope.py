"""Names in templates: the loop, the request, results, secrets and the time of a node run."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import TemplateError
from engine.json_values import MISSING
from tasks.context import NodeRun, enter_node_run
from tasks.templating.render import render

REQUEST = {
    "method": "POST",
    "query": {"Page": "2"},
    "headers": {"x-token": "t", "accept": "*/*"},
}
LOOP = {"item": {"id": 7}, "index": 0, "number": 1, "count": 3, "outer": {"index": 5}}
RESULTS = {"fetch": {"statusCode": 200, "headers": {"A.b": "c"}}, "v1.output": {"x": 1}}
OUTPUTS = {"fetch": {"result": 1}, "a.result": [1], "none": None}


def _enter(**values: Any) -> None:
    enter_node_run(
        NodeRun(
            execution_id=values.get("execution_id", "e1"),
            node_id="n1",
            inputs=dict,
            output_of=lambda node_id: OUTPUTS.get(node_id, MISSING),
            result_of=lambda node_id: RESULTS.get(node_id, MISSING),
            request=lambda: values.get("request", REQUEST),
            loop=lambda: values.get("loop", LOOP),
        )
    )


@pytest.fixture(autouse=True)
def _in_an_execution() -> Iterator[None]:
    _enter()
    yield
    enter_node_run(NodeRun())


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ loop }}", LOOP),
        ("{{ loop.item.id }}", 7),
        ("{{ loop.index }}", 0),
        ("{{ loop['outer'].index }}", 5),
        ("{{ request.method }}", "POST"),
        ("{{ request.query.Page }}", "2"),
        ("{{ request.headers.x-token }}", "t"),
        ("{{ request.headers.X-Token }}", "t"),
        ("{{ request.headers['X-TOKEN'] }}", "t"),
        ("{{ request['headers']['Accept'] }}", "*/*"),
        ("{{ request.headers }}", REQUEST["headers"]),
        ("{{ nodes.fetch.result.statusCode }}", 200),
        ("{{ nodes.fetch.result }}", RESULTS["fetch"]),
        ("{{ nodes['fetch'].result.statusCode }}", 200),
        ("{{ nodes['fetch']['result']['headers']['A.b'] }}", "c"),
        ("{{ nodes.fetch.output.result }}", 1),
        ("{{ nodes['v1.output'].result.x }}", 1),
        ("{{ nodes['a.result'].output }}", [1]),
        ("{{ nodes.none.output }}", None),
        ("{{ execution }}", {"id": "e1"}),
        ("{{ execution['id'] }}", "e1"),
        ("{{ loop.gone | default('-') }}", "-"),
        ("{{ request.headers.gone | default('-') }}", "-"),
    ],
)
def test_a_name_has_its_value(template: str, value: Any):
    assert render(template, {}) == value


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ loop.gone }}",
            "the loop has no field 'loop.gone' (it has: count, index, item, number",
        ),
        ("{{ loop.item.gone }}", "the loop has no field 'loop.item.gone'"),
        ("{{ request.gone }}", "the request has no 'request.gone'; it has request.method"),
        ("{{ request.query.page }}", "the request has no 'request.query.page'"),
        ("{{ request.headers.gone }}", "(it has: accept, x-token)"),
        ("{{ nodes.fetch.result.gone }}", "the result of node 'fetch' has no field 'gone'"),
        ("{{ nodes['fetch'].result.a.b }}", "the result of node 'fetch' has no field 'a.b'"),
        ("{{ nodes.gone.result }}", "node 'gone' has no result: no such node completed"),
        ("{{ nodes.fetch }}", "'nodes.fetch' should be nodes.<id>.output"),
        ("{{ nodes['fetch'].other }}", "should be nodes.<id>.output"),
        ("{{ nodes.output }}", "should be nodes.<id>.output"),
        ("{{ execution.gone }}", "'execution.gone' does not exist; use execution.id"),
        ("{{ now.gone }}", "'now.gone' does not exist; now is a string"),
        ("{{ secrets.GONE }}", "no secret 'GONE': set SECRET_GONE in the environment"),
    ],
)
def test_a_missing_name_is_described(template: str, message: str):
    with pytest.raises(TemplateError) as error:
        render(template, {})
    assert message in str(error.value)


def test_a_field_of_the_input_takes_precedence_also_over_loops_and_requests():
    data = {"loop": {"index": 9}, "request": {"method": "GET"}}
    assert render("{{ loop.index }} {{ request.method }}", data) == "9 GET"
    assert render("{{ loop.number }} {{ request.query.Page }}", data) == "1 2"


def test_names_are_unavailable_outside_of_what_they_describe():
    _enter(loop=MISSING, request=None, execution_id=None)
    for template, message in (
        ("{{ loop.index }}", "'loop.index' is not available: the node is not inside a loop"),
        ("{{ request.method }}", "'request.method' is not available: no webhook request started"),
        ("{{ execution.id }}", "'execution.id' is not available outside an execution"),
    ):
        with pytest.raises(TemplateError) as error:
            render(template, {})
        assert message in str(error.value)


def test_the_time_is_in_utc_with_milliseconds():
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(pattern, render("{{ now }}", {}))
