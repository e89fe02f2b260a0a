"""Database addresses: parses ``DATABASE_URL`` in the forms that other programs use.

Error messages never contain a part of an address that may contain a password.
"""

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from sqlalchemy import URL

from engine.errors import StorageUnavailableError

SERVICE_DIRECTORY = Path(__file__).resolve().parents[2]
"""The directory where relative paths start, as those of ``DATABASE_PATH`` do."""

ACCEPTED = (
    "accepted are postgresql://user:password@host:5432/name (also postgres:// and "
    "postgresql+asyncpg://) and sqlite:///path/to/file.sqlite"
)
_POSTGRES = ("postgresql", "postgres", "postgresql+asyncpg")
_SQLITE = ("sqlite", "sqlite+aiosqlite", "sqlite+pysqlite")

_MAX_SQLITE_PATH_BYTES = 511
"""Maximum length of a path in SQLite, which is lower than that of file systems, in bytes."""
_MAX_SUFFIX_BYTES = len("-journal")
"""Maximum length of the suffix that SQLite adds to the names of its journal files, in bytes."""
_MAX_NAME_BYTES = 255

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_LIBPQ_PARAMETERS = [
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs"),
    *("host", "port", "passfile", "service", "krbsrvname", "gsslib"),
]
"""Parameters that asyncpg parses in an address."""
_SERVER_SETTINGS = [
    *("application_name", "options", "search_path", "timezone", "statement_timeout"),
    *("lock_timeout", "idle_in_transaction_session_timeout"),
]
_SECONDS = {
    "connect_timeout": "timeout",
    "timeout": "timeout",
    "command_timeout": "command_timeout",
}
_SIZES = ("statement_cache_size", "prepared_statement_cache_size")
_OTHERS = ("ssl", "schema", "pgbouncer")
PARAMETERS = sorted([*_LIBPQ_PARAMETERS, *_SERVER_SETTINGS, *_SECONDS, *_SIZES, *_OTHERS])

_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d{0,5})?")
_WITHOUT_CREDENTIALS = re.compile(
    r"[^:/?@,]*(?::\d+)?(?:,[^:/?@,]*(?::\d+)?)*(?:/[^:/?@]*)?\?\w+=.*", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Address:
    """Address of a database: ``file`` for SQLite, ``arguments`` for PostgreSQL."""

    url: URL
    """URL for SQLAlchemy. For PostgreSQL it only names the driver."""
    shown: str
    """The address without a password, for messages."""
    file: Path | None = None
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Keyword arguments of ``asyncpg.connect``."""


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
            return _read_postgres(rest)
        if separator and scheme in _SQLITE:
            return _read_sqlite(rest)
        raise ValueError(_scheme_error(text))  # noqa: TRY301 - all messages get one prefix
    except ValueError as error:
        raise StorageUnavailableError(f"The database's URL cannot be used: {error}") from None


def is_sqlite(text: str) -> bool:
    """Return whether ``text`` is the address of a SQLite file."""
    return text.strip().lower().startswith("sqlite")


def sqlite_url(file: Path) -> str:
    """Return the URL of a file with any name."""
    return f"sqlite:///{quote(str(file), safe=' +/')}"


def open_failure_reason(file: Path) -> str | None:
    """Return why SQLite cannot open ``file`` for writing; ``None`` if no reason is found."""
    try:
        if file.is_dir():
            return f"'{file}' is a directory; name a file in it"
        if not file.parent.is_dir():
            return f"the directory '{file.parent}' does not exist; create it first"
    except OSError as error:  # a part of the path is too long, or not readable
        return f"{error.strerror}"
    if len(os.fsencode(file)) > _MAX_SQLITE_PATH_BYTES:
        return f"SQLite opens paths of at most {_MAX_SQLITE_PATH_BYTES} bytes"
    if len(os.fsencode(file.name)) > _MAX_NAME_BYTES - _MAX_SUFFIX_BYTES:
        most = _MAX_NAME_BYTES - _MAX_SUFFIX_BYTES
        return f"the name of the file has more than {most} bytes, and SQLite adds suffixes to it"
    return None


def _scheme_error(text: str) -> str:
    scheme, separator, path = text.partition(":")
    if scheme.lower() in {"file", *_SQLITE} or not separator:
        path = (path or text).partition("?")[0]
        path = path.removeprefix("//")
        if re.search(r"[/.]", path) and "@" not in path and (separator or "=" not in path):
            forms = f"write DATABASE_URL=sqlite:///{path} or DATABASE_PATH={path}"
            return f"'{text}' is not a URL of a database; for this file {forms}"
    known = [*_POSTGRES, *_SQLITE]
    if re.fullmatch(r"[A-Za-z][\w+.-]{0,40}", scheme) and text[len(scheme) :].startswith("://"):
        near = difflib.get_close_matches(scheme.lower(), known, 1)
        hint = f" (did you mean {near[0]}://?)" if near else ""
        return f"the form '{scheme}://' is not supported{hint}; {ACCEPTED}"
    return f"the value is not a URL of a database; {ACCEPTED}"


def _read_sqlite(rest: str) -> Address:
    path, mark, _ = rest.partition("?")
    if path in {"", "/", "/:memory:"}:
        raise ValueError(
            "a database in memory is not possible, because the service opens several connections; "
            "write sqlite:///path/to/file.sqlite"
        )
    if not path.startswith("/"):
        shown = f"sqlite:///{path}"
        raise ValueError(f"a path follows three slashes: write {shown}")
    if mark:
        raise ValueError(
            "a SQLite URL cannot have parameters after '?'; write a '?' in a path as %3F, or "
            "unchanged in DATABASE_PATH"
        )
    file = local_path(unquote(path[1:]), SERVICE_DIRECTORY)
    return Address(URL.create("sqlite", database=str(file)), str(file), file)


def local_path(text: str, directory: Path) -> Path:
    """Return the absolute path of ``text``; ``~`` is the home directory if it is known."""
    return Path(os.path.realpath(directory / os.path.expanduser(text)))  # noqa: PTH111


def _read_postgres(rest: str) -> Address:
    credentials, hosts, database, query = _split(rest)
    user, _, password = credentials.partition(":")
    if not all(map(_PORT.fullmatch, hosts.split(","))):
        raise ValueError(
            "the port is not a number; if the password has special characters, write them "
            "percent-encoded (: as %3A, / as %2F, @ as %40)"
        )
    arguments = _arguments_of(query)
    passed = urlencode(arguments.pop("dsn"))
    name = unquote(database)
    arguments["dsn"] = f"postgresql://{hosts}/{quote(name, safe='')}" + (passed and f"?{passed}")
    for argument, value in (("user", unquote(user)), ("password", unquote(password))):
        if value:
            arguments[argument] = value
    shown = f"{unquote(user)}@{hosts}/{name}" if user else f"{hosts}/{name}"
    return Address(URL.create("postgresql+asyncpg"), f"postgresql://{shown}", None, arguments)


def _split(rest: str) -> tuple[str, str, str, str]:
    """Return credentials, hosts, database and query. A password may contain ``/?#``."""
    credentials = ""
    if "@" in rest and not _WITHOUT_CREDENTIALS.fullmatch(rest):
        credentials, _, rest = rest.partition("@")
    location, _, query = rest.partition("?")
    if "@" in location:
        raise ValueError(
            "there is more than one '@'; write special characters of the user name and the "
            "password percent-encoded (@ as %40, : as %3A, / as %2F, ? as %3F, % as %25)"
        )
    hosts, _, database = location.partition("/")
    return credentials, hosts, database, query


def _arguments_of(query: str) -> dict[str, Any]:
    """Return arguments for asyncpg; ``dsn`` is the list of parameters for its address."""
    passed: list[tuple[str, str]] = []
    arguments: dict[str, Any] = {"dsn": passed}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _SECONDS:
            arguments[_SECONDS[name]] = _number(name, value, float) or None
        elif name in _SIZES:
            arguments[name] = _number(name, value, int)
        elif name == "pgbouncer":
            arguments |= dict.fromkeys(_SIZES, 0) if value.lower() == "true" else {}
        elif name in {"ssl", "sslmode"}:
            passed.append(("sslmode", _ssl_mode(name, value)))
        elif name == "schema":
            passed.append(("search_path", value))
        elif name in _LIBPQ_PARAMETERS or name in _SERVER_SETTINGS:
            passed.append((name, value))
        else:
            near = difflib.get_close_matches(name.lower(), PARAMETERS, 1)
            hint = f"did you mean '{near[0]}'?" if near else "remove it."
            raise ValueError(
                f"the parameter '{name}' is not supported: {hint} "
                f"Supported are {', '.join(PARAMETERS)}"
            )
    return arguments


def _ssl_mode(name: str, value: str) -> str:
    mode = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(value, value)
    if mode not in _SSL_MODES:
        raise ValueError(
            f"the parameter '{name}' has the value '{value}'; accepted are {', '.join(_SSL_MODES)}"
        )
    return mode


def _number(name: str, value: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(value)
        if 0 <= number < 10**9:
            return number
    except ValueError:
        pass
    raise ValueError(f"the parameter '{name}' has the value '{value}', not a number")
