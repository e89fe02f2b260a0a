"""Field names: lists and strings become names; a repeated name counts once or is rejected."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.config.fields import FieldNames, as_names
from tasks.llm.node import LlmConfig
from tasks.webhooks.response import WebhookResponseConfig

NAMES = TypeAdapter(FieldNames)


@pytest.mark.parametrize("sent", [["b", "a", "b", 1, "1"], "b, a\nb,, 1,1"])
def test_a_repeated_name_counts_once_in_the_order_of_its_first_use(sent: Any):
    assert as_names(sent) == ["b", "a", "1"]


def test_a_field_of_a_webhook_response_is_returned_once():
    config = {"webhookResponseMode": "selected", "webhookResponseFields": "a, b.c, a"}
    assert WebhookResponseConfig.model_validate(config).webhook_response_fields == ["a", "b.c"]


@pytest.mark.parametrize("sent", [["b", "a", "b", None], "b, a\nb,, a"])
def test_an_option_of_a_model_is_offered_once(sent: Any):
    config = {"llmPrompt": "p", "outputType": "enum", "enumOptions": sent}
    assert LlmConfig.model_validate(config).enum_options == ["b", "a"]


@pytest.mark.parametrize("sent", [["a", "b", "a"], "a, b\na"])
def test_a_repeated_name_of_a_column_is_rejected(sent: Any):
    with pytest.raises(ValidationError, match="names 'a' twice"):
        NAMES.validate_python(sent)
    assert NAMES.validate_python(["a", "b", "a "]) == ["a", "b", "a "]
