"""Workflow limits: the number of executions of a workflow that its document allows at a time."""

from collections.abc import Iterator, Mapping

from engine.errors import Problem
from engine.json_values import JsonValue, describe_value, is_object, load_json

LIMIT_KEY = "maxConcurrentExecutions"
MAX_LIMIT = 1_000_000
"""Maximum value of a limit, as that of MAX_CONCURRENT_EXECUTIONS_PER_WORKFLOW."""


def declared_limit(document: JsonValue) -> tuple[int | None, Problem | None]:
    """Return the limit that a document declares, or why it is invalid.

    It is ``settings.maxConcurrentExecutions``, or ``maxConcurrentExecutions`` at the top of the
    document. Text with digits counts as a number, because forms send it.
    """
    for fields, pointer in _places(document):
        value = fields.get(LIMIT_KEY)
        if value is None or value == "":
            continue
        limit = _as_limit(value)
        if limit is not None:
            return limit, None
        detail = f"'{LIMIT_KEY}' should be a number from 1 to {MAX_LIMIT}"
        detail = f"{detail}, not {describe_value(value)}"
        return None, Problem("invalid_execution_limit", detail, f"{pointer}/{LIMIT_KEY}")
    return None, None


def limit_in(text: str) -> int | None:
    """Return the limit that a stored document declares; ``None`` if it declares none."""
    if LIMIT_KEY not in text:
        return None
    try:
        return declared_limit(load_json(text))[0]
    except ValueError:
        return None


def _places(document: JsonValue) -> Iterator[tuple[Mapping[str, JsonValue], str]]:
    if not is_object(document):
        return
    settings = document.get("settings")
    if is_object(settings):
        yield settings, "/settings"
    yield document, ""


def _as_limit(value: JsonValue) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= len(str(MAX_LIMIT)) else 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in _ALLOWED:
        return None
    return int(value)


_ALLOWED = range(1, MAX_LIMIT + 1)
