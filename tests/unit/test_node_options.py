"""Node options: the bounds of retries, delays and timeouts, and blank values."""

from typing import Any

import pytest
from pydantic import ValidationError

from engine.document import Node, parse_document
from engine.graph import Graph
from engine.masking import is_credential_header, masked_headers
from engine.options import NodeOptions
from engine.outcome import Outcome
from engine.ports import Ports, ports_of
from engine.redaction import HIDDEN, hides_data, redacted
from engine.status import (
    EventType,
    ExecutionStatus,
    NodeStatus,
    end_event_type,
    has_ended,
)
from tests.support.documents import document, node

SMALL = 1e-9


@pytest.mark.parametrize(
    ("option", "least", "most", "step"),
    [("retries", 0, 10, 1), ("retryDelaySeconds", 0, 86_400, 0.5)],
)
def test_an_option_is_accepted_up_to_its_bounds(option: str, least: int, most: int, step: float):
    for value in (least, most):
        NodeOptions.model_validate({option: value})
    for value in (least - step, most + step):
        with pytest.raises(ValidationError):
            NodeOptions.model_validate({option: value})


def test_a_timeout_is_positive_and_at_most_a_year():
    for value in (SMALL, 31_536_000):
        assert NodeOptions.model_validate({"timeoutSeconds": value}).timeout_seconds == value
    for value in (0, 31_536_000.5, "inf", "nan"):
        with pytest.raises(ValidationError):
            NodeOptions.model_validate({"timeoutSeconds": value})
    with pytest.raises(ValidationError):
        NodeOptions.model_validate({"retryDelaySeconds": "inf"})


@pytest.mark.parametrize("option", [field.alias for field in NodeOptions.model_fields.values()])
@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_option_is_not_set(option: str, blank: object):
    assert NodeOptions.model_validate({option: blank}) == NodeOptions()
    assert set(NodeOptions().model_dump().values()) == {None}


# Hidden data


def _node(**config: Any) -> Node:
    return parse_document(document({**node("a"), "config": config})).nodes[0]


def test_data_is_hidden_only_where_the_config_says_so():
    assert hides_data(_node(hideData=True))
    assert not hides_data(_node(hideData=False))
    assert not hides_data(_node())


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"outputData": 1, "message": "m"}, {}),
        ({"conditionResult": False}, {"conditionResult": False}),
        ({"conditionResult": "yes"}, {}),
        ({"portData": {"A": 1, "B": 2}}, {"portData": {"A": HIDDEN, "B": HIDDEN}}),
        ({"portData": True, "outputData": {"A": 1}}, {"portData": {"A": HIDDEN}}),
        ({"portData": 1}, {}),
        ({"trueRecords": [1, 2]}, {"trueRecords": [HIDDEN]}),
        ({"falseRecords": []}, {"falseRecords": []}),
        ({"trueRecords": "x"}, {}),
    ],
)
def test_a_hidden_result_shows_its_live_connections_only(
    result: dict[str, Any], shown: dict[str, Any]
):
    hidden = redacted(Outcome(NodeStatus.COMPLETED, result, size=7))
    assert hidden.result == {"outputData": HIDDEN, **shown}
    assert hidden.size == 7


def test_an_error_is_not_hidden():
    failed = Outcome(NodeStatus.ERROR, {"statusCode": 500}, error="e")
    assert redacted(failed) == failed


# Headers


def test_the_first_200_characters_of_a_header_are_searched_for_a_credential():
    assert is_credential_header("x" * 193 + "-secret")
    assert not is_credential_header("x" * 194 + "-secret")
    assert is_credential_header("x" * 200 + "-a") == is_credential_header("x" * 200)


@pytest.mark.parametrize("name", ["page-token", "Next_Token", "x-sync-token", "idempotency-key"])
def test_a_header_that_workflows_read_is_not_a_credential(name: str):
    assert masked_headers({name: "v", "X-Api-Key": "k"}) == {name: "v", "X-Api-Key": "***"}


# Types with several outputs, and entry nodes


def test_a_type_has_several_outputs_from_the_second_one_on():
    parsed = parse_document(document(node("a")))
    for outputs, several in ((("one",), False), (("one", "two"), True)):
        ports = Ports(outputs=ports_of(*outputs))
        assert Graph(parsed, lambda _, ports=ports: ports).has_several_outputs("a") is several


# Ends


@pytest.mark.parametrize(
    ("status", "error", "event"),
    [
        ("completed", None, EventType.COMPLETE),
        ("completed", "e", EventType.COMPLETE),
        ("cancelled", None, EventType.CANCELLED),
        ("cancelled", "e", EventType.CANCELLED),
        ("failed", None, EventType.ERROR),
        ("paused", None, EventType.COMPLETE),
        ("paused", "e", EventType.ERROR),
    ],
)
def test_the_last_message_of_an_execution_depends_on_its_status(
    status: str, error: str | None, event: EventType
):
    assert end_event_type(status, error) == event


def test_an_unknown_status_has_ended():
    ended = {status: has_ended(status) for status in (*ExecutionStatus, "paused", "")}
    assert [status for status, has in ended.items() if not has] == ["pending", "running", "waiting"]
