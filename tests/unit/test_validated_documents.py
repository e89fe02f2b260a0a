"""Validated documents: equal documents are validated once, within a limit of memory."""

import json

import pytest

from engine.errors import InvalidDocumentError
from engine.limits import DocumentLimits
from flows.intake import validated_documents
from flows.intake.validated_documents import ValidatedDocuments
from tasks.registry import DEFAULT
from tests.support.documents import document, node

LIMITS = DocumentLimits()


def text_of(*names: str) -> str:
    return json.dumps(document(*(node(name, "manualInput") for name in names), flow=()))


def test_an_equal_document_is_validated_once():
    documents = ValidatedDocuments()
    first = documents.read(text_of("a"), DEFAULT.rules, LIMITS)
    assert list(first.graph.nodes) == ["a"]
    assert documents.read(text_of("a"), DEFAULT.rules, LIMITS) is first
    assert list(documents.read(text_of("b"), DEFAULT.rules, LIMITS).graph.nodes) == ["b"]


def test_other_limits_and_other_types_validate_it_again():
    documents = ValidatedDocuments()
    text = text_of("a", "b")
    documents.read(text, DEFAULT.rules, LIMITS)
    with pytest.raises(InvalidDocumentError, match="MAX_WORKFLOW_NODES"):
        documents.read(text, DEFAULT.rules, DocumentLimits(nodes=1))
    rules = DEFAULT.rules
    fewer = type(rules)([name for name in rules.known if name != "manualInput"], rules.check)
    with pytest.raises(InvalidDocumentError, match="unknown type"):
        documents.read(text, fewer, LIMITS)


@pytest.mark.parametrize("limit", ["MAX_DOCUMENTS", "MAX_CHARACTERS"])
def test_the_document_that_was_used_least_recently_is_forgotten(
    limit: str, monkeypatch: pytest.MonkeyPatch
):
    texts = [text_of(name) for name in "abc"]
    size = 2 if limit == "MAX_DOCUMENTS" else 2 * len(texts[0])
    monkeypatch.setattr(validated_documents, limit, size)
    documents = ValidatedDocuments()
    first, second = (documents.read(text, DEFAULT.rules, LIMITS) for text in texts[:2])
    assert documents.read(texts[0], DEFAULT.rules, LIMITS) is first
    documents.read(texts[2], DEFAULT.rules, LIMITS)
    assert documents.read(texts[0], DEFAULT.rules, LIMITS) is first
    assert documents.read(texts[1], DEFAULT.rules, LIMITS) is not second
