"""Failures: the failure workflow that a document names, and the fingerprint of an error."""

import json
import re
from hashlib import sha256

from engine.document_settings import DocumentSetting
from engine.errors import Problem
from engine.json_values import JsonValue

FAILURE = "failure"
"""The ``triggerType`` of an execution that another execution's failure started."""
FAILURE_WORKFLOW_KEY = "onFailureWorkflowId"
MAX_MESSAGE_CHARACTERS = 300
"""Maximum length of a normalized message, in characters."""

_MAX_NORMALIZED_CHARACTERS = 4 * MAX_MESSAGE_CHARACTERS
_FINGERPRINT_CHARACTERS = 32
_VARIABLE_PARTS = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "<uuid>"),
    (
        re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
        "<time>",
    ),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{12,})\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"\d+(?:[.,]\d+)*"), "<number>"),
    (re.compile(r"\s+"), " "),
)


def named_failure_workflow(document: JsonValue) -> tuple[str | None, Problem | None]:
    """Return the failure workflow that a document names, or why its name is invalid.

    It is ``settings.onFailureWorkflowId``, or ``onFailureWorkflowId`` at the top of the document.
    """
    return _FAILURE_WORKFLOW.in_document(document)


def failure_workflow_in(text: str) -> str | None:
    """Return the failure workflow that a stored document names; ``None`` if it names none."""
    return _FAILURE_WORKFLOW.in_text(text)


def _as_workflow_id(value: JsonValue) -> str | None:
    is_text = isinstance(value, str) and "\0" not in value  # PostgreSQL rejects NUL.
    if is_text or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    return None


_FAILURE_WORKFLOW = DocumentSetting(
    FAILURE_WORKFLOW_KEY, "the id of a workflow", "invalid_failure_workflow", _as_workflow_id
)


def normalized_message(error: str) -> str:
    """Return an error without the parts that differ each time, such as ids, times and numbers."""
    message = error[:_MAX_NORMALIZED_CHARACTERS]
    for pattern, replacement in _VARIABLE_PARTS:
        message = pattern.sub(replacement, message)
    return message.strip()[:MAX_MESSAGE_CHARACTERS]


def fingerprint_of(
    workflow_id: str, node_id: str | None, node_type: str | None, message: str
) -> str:
    """Return the fingerprint of failures with the same workflow, node and normalized message."""
    text = json.dumps([workflow_id, node_id, node_type, message])
    return sha256(text.encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]
