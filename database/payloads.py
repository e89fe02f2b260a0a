"""Payloads: stores large JSON values once, in chunks, and reads them by their hash.

A column with a large value contains a reference, the JSON object ``{"orchestratorPayload": hash}``.
Chunks are shared by similar values: an object with one more field needs one new chunk.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    case,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
)

from database.connection.engines import byte_length, insert_or_ignore
from database.foreign_values import as_text_column
from database.tables import chunks, executions, logs, payload_parts, payload_uses, payloads

MAX_NODE_TEXT_CHARACTERS = 8_192
"""Maximum length of a value that is stored in the row of a node run, in characters."""
MAX_EXECUTION_TEXT_CHARACTERS = 262_144
"""Maximum length of a value that is stored in the row of an execution, in characters.

It is larger, because the main project's backend shows these columns."""
PREVIEW_CHARACTERS = 8_192
"""Length of the start of a payload that is read without its chunks, in characters."""
CHUNK_CHARACTERS = 65_536
"""Maximum length of a chunk, in characters."""
MAX_BOUND_VALUES = 500
"""Maximum number of values in one statement; databases accept a few thousand."""

_LOCK = 7_205_759_406  # differs from the numbers of the other locks
"""PostgreSQL's advisory lock, so that no transaction uses a payload while another deletes it."""
REFERENCE_PREFIX = '{"orchestratorPayload":"'
"""Start of a reference, before the hash of 64 characters."""
_REFERENCE = re.compile(re.escape(REFERENCE_PREFIX) + r'[0-9a-f]{64}"\}')
_CHUNK_START = re.compile(r'"outputData":|"(?=[^"\\]{8192})')
"""Positions where a chunk begins, so that equal values have equal chunks: the output of a node in
``nodeResults``, and a long string."""


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A large value; ``chunks`` are the hashes and the texts of its parts, in order."""

    hash: str
    characters: int
    bytes: int
    preview: str
    chunks: list[tuple[str, str]]

    @classmethod
    def of(cls, json: str) -> "LargeValue":
        """Return the payload of a JSON text."""
        return cls.of_parts([json])

    @classmethod
    def of_parts(cls, texts: Iterable[str]) -> "LargeValue":
        """Return the payload of a JSON text whose parts follow, of which each is needed once."""
        whole, preview, size, characters = sha256(), "", 0, 0
        parts: list[tuple[str, str]] = []
        known: dict[str, str] = {}
        for json in texts:
            preview += json[: PREVIEW_CHARACTERS - len(preview)]
            characters += len(json)
            for part in _split(json):
                encoded = part.encode(errors="surrogatepass")
                whole.update(encoded)
                size += len(encoded)
                digest = sha256(encoded).hexdigest()
                parts.append((digest, known.setdefault(digest, part)))
        return cls(whole.hexdigest(), characters, size, preview, parts)

    @property
    def reference(self) -> str:
        """The JSON text that a column contains instead of the value."""
        return f'{REFERENCE_PREFIX}{self.hash}"}}'


def is_large(json: str, max_characters: int = MAX_NODE_TEXT_CHARACTERS) -> bool:
    """Return whether a text is stored as a payload: it is large, or looks like a reference."""
    if len(json) > max_characters:
        return True
    return json.startswith(REFERENCE_PREFIX) and _REFERENCE.fullmatch(json) is not None


@dataclass(frozen=True, slots=True)
class LargeTexts:
    """Replaces large JSON texts of one transaction by references, and stores the texts."""

    found: dict[str, LargeValue] = field(default_factory=dict[str, LargeValue])

    def replace(self, json: str, max_characters: int = MAX_NODE_TEXT_CHARACTERS) -> str:
        """Return a text unchanged, or its reference if it is large or looks like a reference."""
        if not is_large(json, max_characters):
            return json
        payload = self.found.get(json)
        if payload is None:
            payload = self.found[json] = LargeValue.of(json)
        return payload.reference

    def add(self, payload: LargeValue) -> str:
        """Add a payload, and return its reference."""
        self.found[payload.reference] = payload
        return payload.reference

    def write(self, connection: Connection, execution_id: str) -> None:
        """Store the texts for an execution, whose row exists; existing ones are not written."""
        if not self.found:
            return
        dialect = connection.dialect.name
        prevent_deletion(connection)
        # In the same order in all transactions, so that they do not wait for each other.
        for payload in sorted(self.found.values(), key=lambda payload: payload.hash):
            row = {
                "hash": payload.hash,
                "characters": payload.characters,
                "bytes": payload.bytes,
                "preview": payload.preview,
            }
            if connection.execute(insert_or_ignore(dialect, payloads), row).rowcount != 1:
                continue
            pieces = dict(payload.chunks)
            rows = [{"hash": digest, "text": pieces[digest]} for digest in sorted(pieces)]
            connection.execute(insert_or_ignore(dialect, chunks), rows)
            parts = [
                {"payloadHash": payload.hash, "position": position, "chunkHash": digest}
                for position, (digest, _) in enumerate(payload.chunks)
            ]
            connection.execute(insert_or_ignore(dialect, payload_parts), parts)
        uses = [
            {"executionId": execution_id, "payloadHash": payload.hash}
            for payload in self.found.values()
        ]
        connection.execute(insert_or_ignore(dialect, payload_uses), uses)


def full_text(column: ColumnElement[Any], execution_id: Column[Any]) -> ColumnElement[Any]:
    """Return the SQL for the whole text of a column of an execution's row."""
    parts = (
        select(chunks.c.text)
        .join(payload_parts, payload_parts.c.chunkHash == chunks.c.hash)
        .join(payload_uses, payload_uses.c.payloadHash == payload_parts.c.payloadHash)
        .where(*_is_used(column, execution_id))
        .order_by(payload_parts.c.position)
        .correlate(execution_id.table)
        .subquery()
    )
    joined = select(func.aggregate_strings(parts.c.text, ""))
    return _resolved(column, joined.select_from(parts).scalar_subquery(), as_text_column(column))


def first_characters(
    column: ColumnElement[Any], execution_id: Column[Any], characters: int | None
) -> ColumnElement[Any]:
    """Return the SQL for the first ``characters`` of this text; all of it with ``None``.

    ``characters`` is at most ``PREVIEW_CHARACTERS``.
    """
    if characters is None:
        return full_text(column, execution_id)
    preview = _of_payload(column, execution_id, payloads.c.preview)
    return func.substr(_resolved(column, preview, as_text_column(column)), 1, characters)


def whole_or_start(
    column: ColumnElement[Any], execution_id: Column[Any], max_characters: ColumnElement[int] | int
) -> ColumnElement[Any]:
    """Return the SQL for all of this text, or for its start if it has more characters."""
    is_small = characters_of(column, execution_id) <= max_characters
    start = first_characters(column, execution_id, PREVIEW_CHARACTERS)
    return case((is_small, full_text(column, execution_id)), else_=start)


def characters_of(column: ColumnElement[Any], execution_id: Column[Any]) -> ColumnElement[Any]:
    """Return the SQL for the length of this text, in characters."""
    characters = _of_payload(column, execution_id, payloads.c.characters)
    return _resolved(column, characters, func.length(as_text_column(column)))


def bytes_of(
    connection: Connection, column: ColumnElement[Any], execution_id: Column[Any]
) -> ColumnElement[Any]:
    """Return the SQL for the length of this text in UTF-8, in bytes."""
    size = _of_payload(column, execution_id, payloads.c.bytes)
    return _resolved(column, size, byte_length(connection, column))


def prevent_deletion(connection: Connection) -> None:
    """Delete no payloads in other transactions until the end of this one."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _LOCK})


def copy_uses(connection: Connection, source: str, execution_id: str) -> None:
    """Let an execution use the payloads of another one whose node runs it has copied."""
    reference = literal(REFERENCE_PREFIX, Text) + payload_uses.c.payloadHash + literal('"}', Text)
    is_copied = exists().where(
        logs.c.executionId == execution_id,
        or_(logs.c.inputData == reference, logs.c.outputData == reference),
    )
    query = select(literal(execution_id, Text), payload_uses.c.payloadHash).where(
        payload_uses.c.executionId == source, is_copied
    )
    names = ["executionId", "payloadHash"]
    insert = insert_or_ignore(connection.dialect.name, payload_uses)
    connection.execute(insert.from_select(names, query))


def delete_uses(connection: Connection, execution_ids: Sequence[str] | Select[tuple[str]]) -> None:
    """Delete the uses by these executions, and the payloads that no other execution uses."""
    own = payload_uses.c.executionId.in_(execution_ids)
    hashes = connection.scalars(select(payload_uses.c.payloadHash).where(own).distinct()).all()
    if hashes:
        connection.execute(delete(payload_uses).where(own))
        delete_unused(connection, hashes)


def delete_unused(connection: Connection, hashes: Sequence[str]) -> None:
    """Delete those of these payloads that no execution uses."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    is_used = exists().where(payload_uses.c.payloadHash == payloads.c.hash)
    has_part = exists().where(payload_parts.c.chunkHash == chunks.c.hash)
    part = payload_parts.c
    for batch in _batches(hashes):
        found = select(payloads.c.hash).where(payloads.c.hash.in_(batch), ~is_used)
        unused = connection.scalars(found).all()
        own_parts = part.payloadHash.in_(unused)
        digests = connection.scalars(select(part.chunkHash).where(own_parts).distinct()).all()
        connection.execute(delete(payload_parts).where(own_parts))
        connection.execute(delete(payloads).where(payloads.c.hash.in_(unused)))
        for some in _batches(digests):
            connection.execute(delete(chunks).where(chunks.c.hash.in_(some), ~has_part))


def find_unused(connection: Connection, after: str, limit: int) -> tuple[list[str], str]:
    """Return the payloads without an existing execution among the next ``limit`` of all payloads.

    Returns:
        Their hashes, and the ``after`` of the next call; it is empty after the last payload.
    """
    following = select(payloads.c.hash).where(payloads.c.hash > after)
    hashes = list(connection.scalars(following.order_by(payloads.c.hash).limit(limit)))
    if not hashes:
        return [], ""
    # A second query, because PostgreSQL would read all uses for a condition of the first one.
    uses = select(payload_uses.c.payloadHash).where(payload_uses.c.payloadHash.in_(hashes))
    existing = uses.join(executions, executions.c.id == payload_uses.c.executionId)
    used = set(connection.scalars(existing))
    end = hashes[-1] if len(hashes) == limit else ""
    return [digest for digest in hashes if digest not in used], end


def delete_without_execution(connection: Connection, hashes: Sequence[str]) -> None:
    """Delete payloads whose executions another program has deleted."""
    for batch in _batches(hashes):
        exists_still = exists().where(executions.c.id == payload_uses.c.executionId)
        dangling = payload_uses.c.payloadHash.in_(batch)
        connection.execute(delete(payload_uses).where(dangling, ~exists_still))
    delete_unused(connection, hashes)


def _of_payload(
    column: ColumnElement[Any], execution_id: Column[Any], wanted: ColumnElement[Any]
) -> ColumnElement[Any]:
    query = select(wanted).join(payload_uses, payload_uses.c.payloadHash == payloads.c.hash)
    used = query.where(*_is_used(column, execution_id))
    return used.correlate(execution_id.table).scalar_subquery()


def _is_used(
    column: ColumnElement[Any], execution_id: Column[Any]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    # Only payloads of the same execution, because a reference could be a value of another program.
    digest = func.substr(as_text_column(column), len(REFERENCE_PREFIX) + 1, 64)
    return payload_uses.c.executionId == execution_id, payload_uses.c.payloadHash == digest


def _resolved(
    column: ColumnElement[Any], of_payload: ColumnElement[Any], of_column: ColumnElement[Any]
) -> ColumnElement[Any]:
    is_reference = func.substr(as_text_column(column), 1, len(REFERENCE_PREFIX)) == REFERENCE_PREFIX
    return case((is_reference, func.coalesce(of_payload, of_column)), else_=of_column)


def _split(json: str) -> Iterator[str]:
    starts = [found.end() for found in _CHUNK_START.finditer(json)]
    for begin, end in pairwise([0, *starts, len(json)]):
        for position in range(begin, end, CHUNK_CHARACTERS):
            yield json[position : min(position + CHUNK_CHARACTERS, end)]


def _batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), MAX_BOUND_VALUES):
        yield values[start : start + MAX_BOUND_VALUES]
