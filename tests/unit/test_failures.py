"""Failures: the fingerprint of an error does not contain the parts that differ each time."""

import json

import pytest

from engine.failures import (
    MAX_MESSAGE_CHARACTERS,
    failure_workflow_in,
    fingerprint_of,
    normalized_message,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 of 20 failed", "order 3 of 1,000.5 failed"),
        (
            "no row 6f1c2b1e-0000-4000-8000-0123456789ab",
            "no row 54e8b2c5-dd44-47ac-8c66-0f6bd86886ec",
        ),
        ("late since 2026-11-28T03:23:47.123Z", "late since 2025-01-01 10:00:00+02:00"),
        ("'ada@example.com' bounced", "'bob.b+x@mail.example.org' bounced"),
        ("commit 0f6bd86886ecaa11 is gone", "commit 0xDEADBEEF is gone"),
        ("a  b\n c", "a b c"),
    ],
)
def test_variable_parts_are_not_significant(one: str, other: str) -> None:
    assert normalized_message(one) == normalized_message(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KeyError: 'name'", "KeyError: 'city'"),
        ("the server responded with abc", "the server responded with abd"),
    ],
)
def test_words_are_significant(one: str, other: str) -> None:
    assert normalized_message(one) != normalized_message(other)


def test_a_long_message_is_cut() -> None:
    assert len(normalized_message("word " * 10_000)) <= MAX_MESSAGE_CHARACTERS


def test_a_fingerprint_differs_by_workflow_node_type_and_message() -> None:
    parts = ["w", "n", "http", "it failed"]
    found = {fingerprint_of(*parts)}
    for i in range(4):
        found.add(fingerprint_of(*(f"{part}2" if i == j else part for j, part in enumerate(parts))))
    assert len(found) == 5


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"settings": {"onFailureWorkflowId": "a"}, "onFailureWorkflowId": "b"}, "a"),
        ({"settings": "other", "onFailureWorkflowId": "b"}, "b"),
        ({"settings": {"onFailureWorkflowId": ""}, "onFailureWorkflowId": 7}, "7"),
        ({"settings": {"onFailureWorkflowId": None}}, None),
        ({"nodes": [{"config": {"onFailureWorkflowId": "x"}}]}, None),
        (["onFailureWorkflowId"], None),
    ],
)
def test_a_document_names_its_failure_workflow(document: object, expected: str | None) -> None:
    assert failure_workflow_in(json.dumps(document)) == expected


def test_a_stored_text_that_is_not_json_names_none() -> None:
    assert failure_workflow_in('{"onFailureWorkflowId": ') is None
