"""switch node: cases in their order, records by case, the default and errors."""

from typing import Any

import pytest

from engine.document import Node
from engine.errors import NodeError
from tasks.flow.switch import MAX_CASES
from tasks.node_handlers import NODE_HANDLERS
from tasks.registry import DEFAULT

CASES = [{"value": "DE"}, {"operator": "startsWith", "value": "A"}, {"value": "{{ home }}"}]


async def run(data: Any, **config: Any) -> Any:
    values = {"switchField": "country", "switchCases": CASES, **config}
    return await NODE_HANDLERS["switch"].fn({"id": "s", "config": values}, data)


@pytest.mark.parametrize(
    ("country", "port"), [("DE", "case1"), ("AT", "case2"), ("FR", "case3"), ("XX", "default")]
)
async def test_the_input_goes_to_the_first_case_that_fits(country: str, port: str):
    data = {"country": country, "home": "FR"}
    result = await run(data)
    assert (result["outputData"], result["switchPort"]) == (data, port)
    assert result["portData"] == {port: data}


async def test_a_case_before_has_precedence():
    cases = [{"operator": "isNotEmpty"}, {"value": "DE"}]
    assert (await run({"country": "DE"}, switchCases=cases))["switchPort"] == "case1"


@pytest.mark.parametrize(("data", "port"), [([{"country": "DE"}, {}], "case1"), ([], "default")])
async def test_batch_tests_the_first_record_of_a_list(data: Any, port: str):
    cases = CASES[:2]
    assert (await run(data, switchCases=cases))["portData"] == {port: data}


async def test_per_row_sends_each_record_to_the_output_of_its_case():
    records = [{"country": name} for name in ("AT", "DE", "XX", "AU")]
    result = await run(records, switchCases=CASES[:2], processingMode="perRow")
    assert result["outputData"] == records
    assert result["portData"] == {
        "case1": [{"country": "DE"}],
        "case2": [{"country": "AT"}, {"country": "AU"}],
        "default": [{"country": "XX"}],
    }
    assert "case2: 2" in result["message"]


async def test_per_row_names_the_record_that_cannot_be_compared():
    cases = [{"operator": "greaterThan", "value": 5}]
    with pytest.raises(NodeError, match="record 1: greaterThan: field 'country' is 'x'"):
        await run([{"country": 6}, {"country": "x"}], switchCases=cases, processingMode="perRow")


async def test_a_missing_field_of_a_template_is_an_error_that_names_the_case():
    with pytest.raises(NodeError, match=r"switchCases\.2\.value"):
        await run({"country": "XX"})


@pytest.mark.parametrize(
    ("config", "detail"),
    [
        ({"switchCases": [{"value": 1}]}, "'switchField' is required"),
        ({"switchField": "a"}, "'switchCases' is required"),
        ({"switchField": "a", "switchCases": []}, "'switchCases' should have at least one case"),
        (
            {"switchField": "a", "switchCases": [{"value": n} for n in range(MAX_CASES + 1)]},
            "at most 10 items",
        ),
        (
            {"switchField": "a", "switchCases": [{"operator": "like", "value": 1}]},
            "'switchCases.0.operator' names an unknown operator 'like'",
        ),
    ],
)
def test_an_invalid_config_is_rejected(config: dict[str, Any], detail: str):
    problems = DEFAULT.check(Node("s", "switch", "S", config, "/nodes/0", "/nodes/0/config"))
    assert len(problems) == 1
    assert detail in problems[0].detail
