"""Model usage: reads the tokens that the model nodes of executions used.

The result of a model node names its ``model`` and its ``usage``. It also contains the reply, which
may have megabytes, so that only the end of the result is read.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, func, select

from database.connection.reader import Reader
from database.foreign_values import as_text_column, object_of, required_text_of, text_of
from database.tables import logs
from engine.json_values import JsonValue, is_object

MAX_END_CHARACTERS = 2_000
"""Number of characters that are read of a result."""
_IDS_PER_STATEMENT = 500
_COUNTS = ("promptTokens", "completionTokens", "totalTokens")
_USAGE = '"usage":'
_MODEL = re.compile(r'"model":\s*("(?:[^"\\]|\\.)*"),\s*$')

_detail = as_text_column(logs.c.resultDetail)
_start = func.length(_detail) - MAX_END_CHARACTERS + 1
_USED = (
    select(
        logs.c.executionId,
        logs.c.nodeId,
        func.substr(_detail, case((_start > 1, _start), else_=1)).label("end"),
    )
    # A rerun copies the results of nodes that it does not run, and they used no tokens again.
    .where(
        logs.c.executionId.in_(bindparam("executions", expanding=True)),
        logs.c.reusedFrom.is_(None),
        _detail.like(f"%{_USAGE}%"),
    )
    .order_by(logs.c.startSeq, logs.c.id)
)


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The tokens of one node run."""

    execution_id: str
    node_id: str | None
    model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ModelUsages:
    """Reads the tokens of executions."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def of_executions(self, execution_ids: Sequence[str]) -> list[ModelUsage]:
        """Return the tokens of each node run that used a model, in the order of their start.

        Not contained are reused results, failed nodes, and results that ``hideData`` encrypts.
        """

        def read(connection: Connection) -> list[ModelUsage]:
            return [
                usage
                for start in range(0, len(execution_ids), _IDS_PER_STATEMENT)
                for usage in _read(connection, execution_ids[start : start + _IDS_PER_STATEMENT])
            ]

        return await self._reader.run(read)


def _read(connection: Connection, execution_ids: Sequence[str]) -> Iterator[ModelUsage]:
    for row in connection.execute(_USED, {"executions": list(execution_ids)}):
        usage = _usage(row)
        if usage is not None:
            yield usage


def _usage(row: Row[*tuple[Any, ...]]) -> ModelUsage | None:
    detail = _detail_of(required_text_of(row.end))
    usage, model = detail.get("usage"), detail.get("model")
    if not is_object(usage) or not isinstance(model, str):
        return None
    counts = [usage.get(name) for name in _COUNTS]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    prompt, completion, total = (int(count) for count in counts if isinstance(count, int))
    return ModelUsage(row.executionId, text_of(row.nodeId), model, prompt, completion, total)


def _detail_of(end: str) -> dict[str, JsonValue]:
    """Return ``model`` and ``usage`` from the end of the JSON of a result."""
    if len(end) < MAX_END_CHARACTERS:
        return object_of(end)
    # In a string, the quotes would be escaped.
    before, _, after = end.rpartition(_USAGE)
    model = _MODEL.search(before)
    if model is None:
        return {}
    try:
        usage, _ = json.JSONDecoder().raw_decode(after.lstrip())
        return {"model": json.loads(model[1]), "usage": usage}
    except ValueError:
        return {}
