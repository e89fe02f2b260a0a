"""Prices of models: the setting ``LLM_PRICES``."""

import pytest

from setting_types import prices_of

pytestmark = pytest.mark.behavior


def test_prices_are_by_model_and_for_a_million_tokens() -> None:
    prices = prices_of('{"a": {"input": 0.5, "output": 2}, "local": {"input": 0, "output": 0}}')
    assert prices["a"].cost(2_000_000, 500_000) == 2
    assert prices["local"].cost(1, 1) == 0
    assert prices_of("{}") == {}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("0.5", "JSON object"),
        ("{", "JSON object"),
        ('{"a": 1}', "'a'"),
        ('{"a": {"input": 1}}', "'a'"),
        ('{"a": {"input": 1, "output": 1, "cached": 1}}', "'a'"),
        ('{"a": {"input": -1, "output": 1}}', "'a'"),
        ('{"a": {"input": true, "output": 1}}', "'a'"),
        ('{"a": {"input": "1", "output": 1}}', "'a'"),
        ('{"a": {"input": NaN, "output": 1}}', "JSON object|'a'"),
    ],
)
def test_an_invalid_price_is_an_error_that_names_the_model(value: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        prices_of(value)
