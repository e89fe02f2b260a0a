"""Database addresses: parses ``DATABASE_URL`` in the forms that other programs use.

Error messages never contain a part of an address that may contain a password.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import URL, make_url

from engine.errors import StorageUnavailableError

SERVICE_DIRECTORY = Path(__file__).resolve().parents[2]
"""The directory where relative paths start, as those of ``DATABASE_PATH`` do."""

ACCEPTED = (
    "accepted are postgresql://user:password@host:5432/name (also postgres:// and "
    "postgresql+asyncpg://) and sqlite:///path/to/file.sqlite"
)
SYNCHRONOUS_MODES = ("NORMAL", "FULL")
"""Modes in which SQLite waits for the disk, as in its pragma. In WAL mode, ``FULL`` waits at each
commit and ``NORMAL`` only at checkpoints. Modes that can corrupt the file are not accepted."""
DEFAULT_SYNCHRONOUS = "NORMAL"
_POSTGRES = ("postgresql", "postgres", "postgresql+asyncpg")
_SQLITE = ("sqlite", "sqlite+aiosqlite", "sqlite+pysqlite")
_SSL_MODES = {"true": "require", "false": "disable"}
"""Values of ``ssl``, which other programs use instead of ``sslmode``."""

_TIMEOUTS = {"connect_timeout": "timeout", "command_timeout": "command_timeout"}
"""Parameters with a number of seconds, 0 for no timeout, and asyncpg's names for them."""


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a database: ``file`` for SQLite, ``arguments`` for PostgreSQL."""

    url: URL
    """URL for SQLAlchemy. For PostgreSQL it only names the driver."""
    shown: str
    """The address without a password, for messages."""
    file: Path | None = None
    synchronous: str = DEFAULT_SYNCHRONOUS
    """Mode in which SQLite waits for the disk: one of ``SYNCHRONOUS_MODES``."""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Keyword arguments of ``asyncpg.connect``."""
    is_pooled: bool = False
    """Whether a pooler such as PgBouncer gives each transaction another connection."""


def read_address(text: str) -> Address:
    """Return the parsed address.

    Raises:
        StorageUnavailableError: If the address has no accepted form.
    """
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    try:
        if separator and scheme in _POSTGRES:
            return _read_postgres(text)
        if separator and scheme in _SQLITE:
            return _read_sqlite(rest)
        raise ValueError(_scheme_error(text))  # noqa: TRY301 - all messages get one prefix
    except ValueError as error:
        raise StorageUnavailableError(f"The database's URL cannot be used: {error}") from None


def asynchronous_address(text: str) -> tuple[URL, dict[str, Any]]:
    """Return the URL and the driver's arguments of a database for an asynchronous engine.

    A SQLite file is opened for reading and writing and is not created.

    Raises:
        StorageUnavailableError: If the address has no accepted form.
    """
    address = read_address(text)
    if address.file is None:
        return address.url, address.arguments
    query = {"mode": "rw", "uri": "true"}
    return URL.create("sqlite+aiosqlite", database=address.file.as_uri(), query=query), {}


def is_sqlite(text: str) -> bool:
    """Return whether ``text`` is the address of a SQLite file."""
    return text.strip().lower().startswith("sqlite")


def open_failure_reason(file: Path) -> str | None:
    """Return why SQLite cannot open ``file`` for writing; ``None`` if no reason is found."""
    try:
        if file.is_dir():
            return f"'{file}' is a directory; name a file in it"
        if not file.parent.is_dir():
            return f"the directory '{file.parent}' does not exist; create it first"
    except OSError as error:  # a part of the path is too long, or not readable
        return f"{error.strerror}"
    return None


def _scheme_error(text: str) -> str:
    scheme, separator, path = text.partition(":")
    if scheme.lower() in {"file", *_SQLITE} or not separator:
        path = (path or text).partition("?")[0]
        path = path.removeprefix("//")
        if re.search(r"[/.]", path) and "@" not in path and (separator or "=" not in path):
            forms = f"write DATABASE_URL=sqlite:///{path} or DATABASE_PATH={path}"
            return f"'{text}' is not a URL of a database; for this file {forms}"
    return f"the value is not a URL of a database; {ACCEPTED}"


def _read_sqlite(rest: str) -> Address:
    path, mark, parameters = rest.partition("?")
    name, _, synchronous = parameters.partition("=")
    if path in {"", "/", "/:memory:"}:
        raise ValueError(
            "a database in memory is not possible, because the service opens several connections; "
            "write sqlite:///path/to/file.sqlite"
        )
    if not path.startswith("/"):
        shown = f"sqlite:///{path}"
        raise ValueError(f"a path follows three slashes: write {shown}")
    if mark and (name != "synchronous" or synchronous not in SYNCHRONOUS_MODES):
        modes = " or ".join(SYNCHRONOUS_MODES)
        raise ValueError(
            f"the only parameter of a SQLite URL is 'synchronous', with {modes}; write a '?' in a "
            "path as %3F, or unchanged in DATABASE_PATH"
        )
    file = local_path(unquote(path[1:]), SERVICE_DIRECTORY)
    url = URL.create("sqlite", database=str(file))
    return Address(url, str(file), file, synchronous or DEFAULT_SYNCHRONOUS)


def local_path(text: str, directory: Path) -> Path:
    """Return the absolute path of ``text``; ``~`` is the home directory if it is known."""
    return Path(os.path.realpath(directory / os.path.expanduser(text)))  # noqa: PTH111


def _read_postgres(text: str) -> Address:
    """Return the address of a server. asyncpg parses the parameters, as libpq does.

    A parameter that asyncpg does not know is a setting of the session, which the server checks.
    """
    try:
        url = make_url(text)
    except ValueError:  # its message contains a part of the address
        raise ValueError(
            "the port is not a number; if the password has special characters, write them "
            "percent-encoded (: as %3A, / as %2F, @ as %40)"
        ) from None
    if "@" in f"{url.host}{url.database}":
        raise ValueError(
            "there is more than one '@'; write special characters of the user name and the "
            "password percent-encoded (@ as %40, : as %3A, / as %2F, ? as %3F, % as %25)"
        )
    server = URL.create("postgresql", host=url.host, port=url.port, database=url.database)
    shown = server.set(username=url.username).render_as_string()
    query = dict(url.query)
    arguments: dict[str, Any] = {}
    for parameter, argument in _TIMEOUTS.items():
        if (seconds := query.pop(parameter, None)) is not None:
            if not str(seconds).isdecimal():
                raise ValueError(
                    f"the parameter '{parameter}' has the value {seconds!r}, not a number"
                )
            arguments[argument] = float(str(seconds)) or None
    is_pooled = query.pop("pgbouncer", None) == "true"
    if is_pooled:
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    if (schema := query.pop("schema", None)) is not None:
        query["search_path"] = schema
    if (ssl := query.pop("ssl", None)) is not None:
        query["sslmode"] = _SSL_MODES.get(str(ssl), ssl)
    arguments["dsn"] = server.set(query=query).render_as_string()
    for argument, value in (("user", url.username), ("password", url.password)):
        if value:
            arguments[argument] = value
    url = URL.create("postgresql+asyncpg")
    return Address(url, shown, arguments=arguments, is_pooled=is_pooled)
