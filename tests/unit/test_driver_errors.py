"""Driver errors: each error of a database driver becomes the error that callers handle."""

import sqlite3

import pytest
from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InvalidRequestError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from database.connection.engines import is_conflict, is_foreign_key_violation, to_service_error
from engine.errors import (
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedValueError,
)

SQL = "SELECT secret"


class PostgresError(Exception):
    """Error of PostgreSQL's driver with an SQLSTATE."""

    def __init__(self, text: str, sqlstate: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def sqlite_error(text: str) -> SQLAlchemyError:
    return OperationalError(SQL, {}, sqlite3.OperationalError(text))


def postgres_error(text: str, sqlstate: str) -> SQLAlchemyError:
    return ProgrammingError(SQL, {}, PostgresError(text, sqlstate))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (TimeoutError(), StorageError, "The database did not respond in time"),
        (OSError("no route"), StorageError, "The database cannot be reached: no route"),
        (
            sqlite_error("database is locked"),
            StorageBusyError,
            "The database is busy: database is locked",
        ),
        (
            sqlite_error("database or disk is full"),
            StorageFullError,
            "The disk of the database is full: database or disk is full",
        ),
        (
            sqlite_error("Unable to open database file"),
            StorageUnavailableError,
            "The database cannot be used: Unable to open database file",
        ),
        (sqlite_error("no such table: x"), StorageError, "The database failed: no such table: x"),
        (
            DataError(SQL, {}, sqlite3.DataError("too big")),
            UnsupportedValueError,
            "The database cannot store a value: too big",
        ),
        (
            postgres_error("zero byte", "22021"),
            UnsupportedValueError,
            "The database cannot store a value: zero byte",
        ),
        (
            postgres_error("row too big", "54000"),
            UnsupportedValueError,
            "The database cannot store a value: row too big",
        ),
        (postgres_error("deadlock", "40P01"), StorageBusyError, "The database is busy: deadlock"),
        (postgres_error("conflict", "40001"), StorageBusyError, "The database is busy: conflict"),
        (
            InvalidRequestError("database is locked"),
            StorageBusyError,
            "The database is busy: database is locked",
        ),
        (InvalidRequestError("no rows"), StorageError, "The database failed: no rows"),
    ],
)
def test_an_error_of_a_driver_has_its_kind_and_no_statement(
    error: SQLAlchemyError | OSError, kind: type[Exception], message: str
):
    found = to_service_error(error)
    assert type(found) is kind
    assert str(found) == message


def test_an_integrity_error_is_not_changed():
    error = IntegrityError(SQL, {}, sqlite3.IntegrityError("FOREIGN KEY constraint failed"))
    assert to_service_error(error) is error
    assert is_foreign_key_violation(error)
    unique = IntegrityError(SQL, {}, sqlite3.IntegrityError("UNIQUE constraint failed"))
    assert not is_foreign_key_violation(unique)


def test_only_conflicts_of_postgresql_are_tried_again():
    assert is_conflict(postgres_error("conflict", "40001"))
    assert not is_conflict(postgres_error("other", "42P01"))
    assert not is_conflict(sqlite_error("database is locked"))
    assert not is_conflict(InvalidRequestError("no rows"))
