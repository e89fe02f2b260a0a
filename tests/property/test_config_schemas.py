"""The JSON Schema of a config accepts exactly the configs that the service accepts."""

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tasks.config.base import ConfigError, NodeConfig, config_errors, has_template
from tasks.config.json_schema import describe_config
from tasks.node_handlers import NODE_CONFIGS
from tests.support.generated import examples
from tests.support.schemas import values

OFTEN = examples(60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
VALID_TEXTS = {
    "httpUrl": {"http://x/"},
    "waitUntil": {"2026-11-23", "2026-11-23T08:00:00Z"},
    "scheduleCron": {"0 5 * * *"},
    "scheduleTimezone": {"UTC"},
}
"""Valid texts of the fields of which a schema describes only the form, such as hosts and dates."""

AMONG_VALUES = (
    *("in ascending order", " twice", "which is kept (", "creates two fields"),
    "is not valid Python",
    "of the statement",
    "at least one case",  # after blank rows were removed
    "but approvalAssignees has",
    "is required for approvalEscalationSeconds",
    "at least 1 item after validation",  # after blank addresses were removed
    "is not one e-mail address",
)
"""Rules that a schema cannot express: relations between values, Python code, and addresses."""


def _within_reach(model: type[NodeConfig], config: dict[str, Any]) -> list[ConfigError]:
    """The faults that a schema can see."""
    return [fault for fault in config_errors(model, config) if not _any_in(fault.reason)]


def _any_in(reason: str) -> bool:
    return any(part in reason for part in AMONG_VALUES)


def _is_decidable(config: dict[str, Any]) -> bool:
    """Return whether the schema and the service must agree: not about other hosts or dates."""
    return all(
        config.get(key) is None or has_template(config[key]) or config[key] in texts
        for key, texts in VALID_TEXTS.items()
    )


# One strategy for each node type, because a new one for each example takes a third of the time.


@cache
def _validator(node_type: str) -> Draft7Validator:
    return Draft7Validator(describe_config(NODE_CONFIGS[node_type]).schema)


@cache
def _likely(node_type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return configs; most of them are valid."""
    return values(describe_config(NODE_CONFIGS[node_type]).schema)


@cache
def _loose(node_type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return configs whose fields may be missing, or of another field's kind."""
    properties = describe_config(NODE_CONFIGS[node_type]).schema["properties"]
    fields = {key: values(item) for key, item in properties.items()}
    anything = st.one_of(list(fields.values()))
    optional = {key: field | anything for key, field in fields.items()}
    return st.fixed_dictionaries({}, optional=optional)


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
@OFTEN
@given(data=st.data())
def test_a_valid_config_is_accepted_and_its_normal_form_is_valid(
    node_type: str, data: st.DataObject
):
    model, validator = NODE_CONFIGS[node_type], _validator(node_type)
    config = data.draw(_likely(node_type))
    is_valid = validator.is_valid(config) and _is_decidable(config)
    if is_valid:
        assert _within_reach(model, config) == []
    is_accepted = config_errors(model, config) == []
    assume(is_valid or is_accepted)
    if is_accepted:
        read = model.model_validate(config).model_dump(
            mode="json", by_alias=True, exclude_none=True
        )
        if node_type == "wait" and "waitSeconds" in read and not has_template(read["waitSeconds"]):
            read["waitSeconds"] = float(read["waitSeconds"])  # the model keeps it as text
        assert list(validator.iter_errors(read)) == []


@pytest.mark.parametrize("node_type", sorted(NODE_CONFIGS))
@OFTEN
@given(data=st.data())
def test_a_rejected_config_is_invalid_by_the_schema(node_type: str, data: st.DataObject):
    config = data.draw(_loose(node_type))
    assume(_is_decidable({key: v for key, v in config.items() if isinstance(v, str)}))
    if _within_reach(NODE_CONFIGS[node_type], config):
        assert not _validator(node_type).is_valid(config)
