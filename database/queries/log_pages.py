"""Log pages: reads node logs in pages with a limited number of rows and size of payloads.

A page is read in two steps, because a payload may have megabytes: first the keys of the page, then
its rows up to the maximum size.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)

from database.connection.reader import Reader
from database.foreign_values import integer_of, required_text_of
from database.payloads import PREVIEW_CHARACTERS, characters_of, whole_or_start
from database.queries.executions import log_columns, node_log, read_execution
from database.queries.results import Execution, NodeLog
from database.tables import logs
from engine.status import has_ended

Key = Row[*tuple[Any, ...]]
"""Key, sequence number and position of a row."""

ROWS_PER_STATEMENT = 100
"""Maximum number of rows that one statement reads."""

_own_seq = cast(logs.c.seq, Integer)
_has_seq = case((and_(logs.c.seq.is_not(None), _own_seq > 0), 1), else_=0)
_counted = func.row_number().over(partition_by=_has_seq, order_by=(logs.c.timestamp, logs.c.id))
_seq = case((_has_seq == 1, _own_seq), else_=_counted)
"""Sequence number of a row's last change; rows of other programs are numbered by time."""
_position = func.row_number().over(
    order_by=(func.coalesce(cast(logs.c.startSeq, Integer), 0), logs.c.timestamp, logs.c.id)
)
"""Position of a row in the order of start."""


Statement = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class LogPageRequest:
    """Rows of an execution's logs that a caller requests."""

    execution_id: str
    after_seq: int
    limit: int
    max_characters: int
    """Maximum size of the payloads of a page; a page of one row may have more."""
    max_payload: int | None = None
    """Maximum size of a whole payload: of a larger one, the page contains the start and the size.

    With 0, it contains the sizes only."""
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Node runs in the order of their start."""

    execution: Execution
    logs: list[NodeLog]
    next_seq: int
    """The ``after_seq`` of the next page; on the last page, of the changes that follow."""
    has_more: bool

    @property
    def characters(self) -> int:
        """Size of the strings in the page, in characters."""
        return sum(map(_characters, self.logs))


class LogPages:
    """Reads the logs of executions page by page."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self, wanted: LogPageRequest) -> LogPage:
        """Return the rows that changed first after ``after_seq``, in the order of their start.

        Raises:
            ExecutionNotFoundError: If the execution does not exist.
        """
        return await self._reader.run(lambda connection: _read_page(connection, wanted))


def _read_page(connection: Connection, wanted: LogPageRequest) -> LogPage:
    execution = read_execution(connection, wanted.execution_id)
    statements = _statements(connection.dialect.name)
    values = {
        "execution": wanted.execution_id,
        "after": wanted.after_seq,
        # More than the page, so that other rows with the last sequence number are found.
        "most": wanted.limit + ROWS_PER_STATEMENT,
    }
    keys_query = statements.keys
    if wanted.node_id is not None:
        keys_query = statements.keys_of_node
        values["node"] = wanted.node_id
    keys = connection.execute(keys_query, values).all()
    found = _read_rows(connection, keys[: wanted.limit], wanted, statements)
    taken = len(found)
    while 0 < taken < len(keys) and keys[taken].seq == keys[taken - 1].seq:
        # ``next_seq`` would skip the other rows with this number, which another program copied.
        found.update(statements.read(connection, [keys[taken]], 0))
        taken += 1
    has_more = taken < len(keys)
    last = keys[taken - 1].seq if taken else wanted.after_seq
    of_another_program = execution.seq == 0 and has_ended(execution.status)
    return LogPage(
        execution,
        [found[key.key] for key in sorted(keys[:taken], key=lambda key: key.position)],
        last if has_more or of_another_program else execution.seq,
        has_more,
    )


def _read_rows(
    connection: Connection, keys: Sequence[Key], wanted: LogPageRequest, statements: "_Statements"
) -> dict[Any, NodeLog]:
    """Return the first of these rows, up to the maximum size of the page."""
    found: dict[Any, NodeLog] = {}
    remaining = wanted.max_characters
    for start in range(0, len(keys), ROWS_PER_STATEMENT):
        batch = keys[start : start + ROWS_PER_STATEMENT]
        if wanted.max_payload == 0:
            found.update(statements.read(connection, batch, 0))
            continue
        sizes = statements.sizes_of(connection, batch, wanted.max_payload)
        count = 0
        while count < len(batch) and (sizes[batch[count].key] <= remaining or not (found or count)):
            remaining -= sizes[batch[count].key]
            count += 1
        found.update(statements.read(connection, batch[:count], wanted.max_payload))
        if count < len(batch):
            break
    return found


@dataclass(frozen=True, slots=True)
class _Statements:
    """The statements of one kind of database."""

    keys: Statement
    keys_of_node: Statement
    sizes: Statement
    rows: Statement
    rows_with_starts: Statement
    rows_without_payloads: Statement

    def sizes_of(
        self, connection: Connection, keys: Sequence[Key], max_payload: int | None
    ) -> dict[Any, int]:
        """Return the sizes of the payloads of rows as ``read`` returns them, in characters."""
        rows = connection.execute(self.sizes, {"keys": [key.key for key in keys]})
        sizes = {row.key: [integer_of(size) or 0 for size in row[1:]] for row in rows}
        if max_payload is None:
            return {key: sum(found) for key, found in sizes.items()}
        start = min(max_payload, PREVIEW_CHARACTERS)
        return {
            key: sum(size if size <= max_payload else start for size in found)
            for key, found in sizes.items()
        }

    def read(
        self, connection: Connection, keys: Sequence[Key], max_payload: int | None
    ) -> dict[Any, NodeLog]:
        """Return rows by their keys; see ``LogPageRequest.max_payload``."""
        values: dict[str, object] = {"keys": [key.key for key in keys]}
        if max_payload is None:
            query = self.rows
        elif max_payload == 0:
            query = self.rows_without_payloads
        else:
            query = self.rows_with_starts
            values["most"] = max_payload
        return {row.key: node_log(row, max_payload) for row in connection.execute(query, values)}


@functools.cache
def _statements(dialect: str) -> _Statements:
    # SQLite allows any number of rows whose id is NULL.
    key: ColumnElement[Any] = logs.c.id
    if dialect == "sqlite":
        key = literal_column("execution_logs.rowid", Integer)
    numbered = (
        select(key.label("key"), logs.c.nodeId, _seq.label("seq"), _position.label("position"))
        .where(logs.c.executionId == bindparam("execution"))
        .subquery()
    )
    keys = (
        select(numbered.c.key, numbered.c.seq, numbered.c.position)
        .where(numbered.c.seq > bindparam("after"))
        .order_by(numbered.c.seq, numbered.c.position)
        .limit(bindparam("most"))
    )
    is_wanted = key.in_(bindparam("keys", expanding=True))
    sizes = (
        characters_of(logs.c.inputData, logs.c.executionId).label("input"),
        characters_of(logs.c.outputData, logs.c.executionId).label("output"),
    )
    most = bindparam("most", type_=Integer)
    starts = {
        "input": whole_or_start(logs.c.inputData, logs.c.executionId, most).label("input"),
        "output": whole_or_start(logs.c.outputData, logs.c.executionId, most).label("output"),
    }
    with_starts: list[ColumnElement[Any]] = [
        starts.get(str(column.key), column) for column in log_columns(0)
    ]
    return _Statements(
        keys,
        keys.where(numbered.c.nodeId == bindparam("node")),
        select(key.label("key"), *sizes).where(is_wanted),
        select(key.label("key"), *log_columns(None)).where(is_wanted),
        select(key.label("key"), *with_starts).where(is_wanted),
        select(key.label("key"), *log_columns(0)).where(is_wanted),
    )


def _characters(log: NodeLog) -> int:
    payloads = (log.input_data, log.output_data)
    texts = [payload.text for payload in payloads if payload is not None]
    return sum(map(len, (*texts, required_text_of(log.error), required_text_of(log.last_error))))
