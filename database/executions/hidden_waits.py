"""Hidden waits: encrypts the data that ends the waits of nodes with ``hideData``."""

import json
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, func, select

from database.encryption import ENCRYPTED_PREFIX, DataEncryption
from database.tables import logs
from engine.json_encoding import read_stored
from engine.json_values import JsonValue
from engine.parking import Resumption

DATA_ENCRYPTION = "orchestrator_data_encryption"
"""Execution option of the connections that write: the ``DataEncryption`` of the service."""

_BEGINS_ENCRYPTED = func.substr(logs.c.resultDetail, 1, len(ENCRYPTED_PREFIX)) == ENCRYPTED_PREFIX


def hidden_rows(connection: Connection, row_ids: Collection[str]) -> set[str]:
    """Return those of these rows of waiting node runs whose nodes hide their data."""
    query = select(logs.c.id).where(logs.c.id.in_(row_ids), _BEGINS_ENCRYPTED)
    return set(connection.scalars(query).all())


def stored_resumption(connection: Connection, resumption: Resumption, *, hidden: bool) -> str:
    """Return a resumption as its row contains it.

    Raises:
        StorageUnavailableError: If the data is hidden, and no key is available.
    """
    return stored_data(connection, resumption.as_json(), hidden=hidden)


def stored_data(connection: Connection, value: Mapping[str, JsonValue], *, hidden: bool) -> str:
    """Return an object as JSON, encrypted if it is hidden.

    Raises:
        StorageUnavailableError: If the data is hidden, and no key is available.
    """
    if hidden:
        return _encryption_of(connection).encrypt(value)
    return json.dumps(value, ensure_ascii=False)


def read_data(connection: Connection, text: str, *, hidden: bool) -> dict[str, JsonValue]:
    """Return the object that ``stored_data`` returned as text."""
    value = json.loads(text)
    opened = _encryption_of(connection).decrypt(value) if hidden else None
    return value if opened is None else opened


def read_resumption(text: str, encryption: DataEncryption) -> Resumption:
    """Return the resumption that ``stored_resumption`` returned as text."""
    value = read_stored(text)
    opened = encryption.decrypt(value)
    return Resumption.from_json(value if opened is None else opened)


def _encryption_of(connection: Connection) -> DataEncryption:
    found: DataEncryption = connection.get_execution_options()[DATA_ENCRYPTION]
    return found
