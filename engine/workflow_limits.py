"""Workflow limits: the number of executions of a workflow that its document allows at a time."""

from engine.document_settings import DocumentSetting
from engine.errors import Problem
from engine.json_values import JsonValue

LIMIT_KEY = "maxConcurrentExecutions"
MAX_LIMIT = 1_000_000
"""Maximum value of a limit, as that of MAX_CONCURRENT_EXECUTIONS_PER_WORKFLOW."""


def declared_limit(document: JsonValue) -> tuple[int | None, Problem | None]:
    """Return the limit that a document declares, or why it is invalid.

    It is ``settings.maxConcurrentExecutions``, or ``maxConcurrentExecutions`` at the top of the
    document. Text with digits counts as a number, because forms send it.
    """
    return _LIMIT.in_document(document)


def limit_in(text: str) -> int | None:
    """Return the limit that a stored document declares; ``None`` if it declares none."""
    return _LIMIT.in_text(text)


def _as_limit(value: JsonValue) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= len(str(MAX_LIMIT)) else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in _ALLOWED:
        return None
    return int(value)


_ALLOWED = range(1, MAX_LIMIT + 1)
_LIMIT = DocumentSetting(
    LIMIT_KEY, f"a number from 1 to {MAX_LIMIT}", "invalid_execution_limit", _as_limit
)
