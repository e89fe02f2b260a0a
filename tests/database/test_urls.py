"""Addresses: ``DATABASE_PATH`` accepts any path, ``DATABASE_URL`` the forms of other programs."""

import asyncio
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from config import ROOT, Settings
from database import Database
from database.check import NOT_CHECKED, PASSED, check_database
from database.connection.engines import open_writing_engine
from database.connection.urls import read_address
from engine.errors import StorageError, StorageUnavailableError
from tests.support.postgres import new_postgres_database
from worker_setup import data_encryption_of

NAMES = [
    "q?a/x.sqlite",
    "#a/x#y.sqlite",
    "%41/%41.sqlite",
    "100%/x.sqlite",
    "a b/ c .sqlite",
    'it\'s "quoted"/x.sqlite',
    "ünï/☃ 数据.sqlite",
    "dots./x.",
    "~/x.sqlite",
    "new\nline/x.sqlite",
    "file:x?mode=ro&cache=shared",
    ":memory:",
    "a&b=c;d+e/x.sqlite",
    "back\\slash/x.sqlite",
    "sqlite:/x@y:z/[x].sqlite",
    "LONG",
]
"""Names of files below a directory; ``LONG`` stands for the longest path that SQLite opens."""


def file_named(name: str, directory: Path) -> Path:
    """Return the file with this name in ``directory``."""
    if name != "LONG":
        return directory / name
    room = 500 - len(os.fsencode(directory)) - len("//")
    last = min(room // 2, 240)
    return directory / ("d" * min(room - last, 240)) / ("n" * last)


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # pyright: ignore[reportCallIssue]


def files_of(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids some of these names")
@pytest.mark.parametrize("name", NAMES)
def test_a_database_is_created_and_checked_at_any_path(tmp_path: Path, name: str):
    file = file_named(name, tmp_path)
    file.parent.mkdir(parents=True, exist_ok=True)
    before = files_of(tmp_path)
    given = settings(database_path=str(file))
    report = check_database(given.url)
    assert (report.exit_code, report.lines) == (
        NOT_CHECKED,
        [f"The database {file} does not exist"],
    )
    assert files_of(tmp_path) == before
    assert asyncio.run(prepare(given.url)) is True
    created = files_of(tmp_path) - before
    assert file in created
    assert all(path.name.startswith(file.name) for path in created)  # the file, -wal, -shm
    assert make_url(given.url).database == str(file)
    report = check_database(given.url)
    assert report.lines == [f"OK: every invariant holds in {file}"]
    assert report.exit_code == PASSED
    encryption = data_encryption_of(given)
    encryption.encrypt({"outputData": 1})
    assert file.with_name(f"{file.name}.key").is_file()


async def prepare(url: str) -> bool:
    """Migrate a database; return whether it was new."""
    database = Database(url)
    try:
        return await database.prepare()
    finally:
        await database.close()


def test_an_unknown_user_is_part_of_a_file_name():
    given = settings(database_path="~no-such-user/x.sqlite", prefect_home="~no-such-user/p")
    assert given.database_file == ROOT / "~no-such-user/x.sqlite"
    assert given.prefect_home == ROOT / "~no-such-user/p"


UNOPENED = [
    ("missing/x.sqlite", r"unable to open database file: the directory '.*missing' does not exist"),
    ("", r"is a directory"),
    ("n" * 256, r"too long"),
]


@pytest.mark.parametrize(("name", "reason"), UNOPENED, ids=lambda value: value[:20])
async def test_a_file_that_cannot_be_opened_is_explained(tmp_path: Path, name: str, reason: str):
    file = tmp_path / name
    if "/" in name and not name.startswith("missing"):
        file.parent.mkdir(parents=True)
    database = Database(settings(database_path=str(file)).url)
    try:
        with pytest.raises(StorageUnavailableError, match=reason):
            await database.prepare()
    finally:
        await database.close()


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_path_is_rejected(blank: str):
    with pytest.raises(ValueError, match="path of a file"):
        settings(database_path=blank)


# DATABASE_URL of SQLite


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite", "sqlite+pysqlite", " SQLite"])
def test_a_sqlite_url_leads_to_its_file(tmp_path: Path, scheme: str):
    file = tmp_path / "a b.sqlite"
    assert read_address(f"{scheme}:///{file}").file == file
    assert read_address(f"{scheme}:///{tmp_path}/a%20b.sqlite").file == file
    assert read_address(f"{scheme}:///data/x.sqlite").file == ROOT / "data" / "x.sqlite"


@pytest.mark.parametrize("name", NAMES)
def test_every_path_has_a_url(name: str):
    file = file_named(name, Path("/"))
    url = f"sqlite:///{quote(str(file), safe=' +/')}"
    assert read_address(url).file == file


def test_the_key_file_is_in_the_directory_of_the_database(tmp_path: Path):
    data_encryption_of(settings(database_url=f"sqlite:///{tmp_path}/x.sqlite")).encrypt(
        {"outputData": 1}
    )
    assert (tmp_path / "x.sqlite.key").is_file()


SQLITE_MISTAKES = [
    ("file:./dev.db", "write DATABASE_URL=sqlite:///./dev.db or DATABASE_PATH=./dev.db"),
    ("file:dev.db?connection_limit=1", "DATABASE_URL=sqlite:///dev.db"),
    ("file:/data/dev.db", "DATABASE_URL=sqlite:////data/dev.db"),
    ("file:///data/dev.db", "DATABASE_URL=sqlite:////data/dev.db"),
    ("sqlite:dev.db", "DATABASE_URL=sqlite:///dev.db"),
    ("./dev.db", "DATABASE_URL=sqlite:///./dev.db"),
    ("/data/dev.db", "DATABASE_URL=sqlite:////data/dev.db"),
    ("sqlite://dev.db", "write sqlite:///dev.db"),
    ("sqlite:///:memory:", "memory"),
    ("sqlite://", "memory"),
    ("sqlite:///", "memory"),
    ("sqlite:///q?a/x.sqlite", "%3F"),
]


@pytest.mark.parametrize(("text", "advice"), SQLITE_MISTAKES)
def test_a_path_in_another_form_is_rejected_with_the_correct_form(text: str, advice: str):
    with pytest.raises(StorageUnavailableError) as raised:
        read_address(text)
    assert advice in str(raised.value)
    assert "\n" not in str(raised.value)


# DATABASE_URL of PostgreSQL


# The code that reads the scheme does not read the query.
@pytest.mark.parametrize(
    ("scheme", "query"),
    [
        ("postgres", ""),
        ("postgresql", "?sslmode=disable"),
        (
            "postgresql+asyncpg",
            "?sslmode=prefer&connect_timeout=10&command_timeout=0&application_name=workflows",
        ),
        ("PostgreSQL", "?ssl=false&schema=public&pgbouncer=true"),
        ("postgres", "?options=-c%20statement_timeout%3D60000&target_session_attrs=any"),
    ],
)
async def test_the_forms_of_a_postgresql_url_work(scheme: str, query: str):
    async with new_postgres_database() as url:
        database = Database(f"{scheme}://{url.partition('://')[2]}{query}")
        try:
            assert await database.prepare() is True
            assert await database.is_prepared()
        finally:
            await database.close()


async def test_a_host_without_tls_is_rejected_if_tls_is_required():
    async with new_postgres_database() as url:
        database = Database(f"{url}?sslmode=require")
        try:
            with pytest.raises(StorageError, match="SSL"):
                await database.prepare()
        finally:
            await database.close()


@pytest.mark.parametrize(
    ("credentials", "password"),
    [
        ("ann:s%40fe", "s@fe"),
        ("ann:a/b", "a/b"),
        ("ann:a#b", "a#b"),
        ("ann:a?b", "a?b"),
        ("ann:a:b", "a:b"),
        ("ann:100%", "100%"),
        ("ann:%25%2F", "%/"),
        ("ann:a+b", "a+b"),
    ],
)
def test_a_password_may_have_special_characters(credentials: str, password: str):
    address = read_address(f"postgres://{credentials}@db.example:5433/shop?sslmode=require")
    assert address.arguments == {
        "user": "ann",
        "password": password,
        "dsn": "postgresql://db.example:5433/shop?sslmode=require",
    }
    assert address.shown == "postgresql://ann@db.example:5433/shop"


def test_an_ipv6_address_and_several_hosts_are_accepted():
    assert read_address("postgres://[::1]:5432/x").arguments["dsn"] == "postgresql://[::1]:5432/x"
    address = read_address("postgresql:///shop?host=a:1,b:2&application_name=me")
    assert address.arguments == {"dsn": "postgresql:///shop?application_name=me&host=a%3A1%2Cb%3A2"}


@pytest.mark.parametrize(
    ("query", "reason"),
    [("ssl_mode=require", "ssl_mode"), ("sslmode=on", "verify-full"), ("schma=x", "schma")],
)
async def test_an_unknown_parameter_is_named_when_the_database_is_opened(query: str, reason: str):
    async with new_postgres_database() as url:
        database = Database(f"{url}?{query}")
        try:
            with pytest.raises(StorageError, match=reason):
                await database.prepare()
        finally:
            await database.close()


HIDDEN = "hid4en"
POSTGRES_MISTAKES = [
    (f"postgres://ann:p@{HIDDEN}@db/shop", "percent-encoded"),
    (f"postgres://ann:p@{HIDDEN}/x@db/shop", "percent-encoded"),
    (f"postgres://ann:p@{HIDDEN}:w@db/shop", "percent-encoded"),
    (f"postgres://ann:{HIDDEN}/shop", "the port is not a number"),
    (f"postgres://ann:{HIDDEN}@db:54x2/shop", "the port is not a number"),
    (f"postgres://ann:{HIDDEN}@db/shop?connect_timeout=soon", "'soon', not a number"),
    (f"postgres://ann:{HIDDEN}@db/shop?command_timeout=-1", "'command_timeout' has the value '-1'"),
    (f"postgre://ann:{HIDDEN}@db/shop", "accepted are postgresql://"),
    (f"postgresql+psycopg2://ann:{HIDDEN}@db/shop", "postgresql+asyncpg://"),
    (f"mysql://ann:{HIDDEN}@db/shop", "accepted are postgresql://"),
    (f"jdbc:postgresql://db/shop?password={HIDDEN}", "accepted are postgresql://"),
    (f"ann:{HIDDEN}@db/shop", "accepted are postgresql://"),
    (f"host=db user=ann password={HIDDEN}@x", "accepted are postgresql://"),
    (f"host=db user=ann password={HIDDEN}", "accepted are postgresql://"),
    (f'"postgres://ann:{HIDDEN}@db/shop"', "accepted are postgresql://"),
]


@pytest.mark.parametrize(("text", "advice"), POSTGRES_MISTAKES)
def test_a_wrong_url_is_one_line_without_the_password(text: str, advice: str):
    with pytest.raises(StorageUnavailableError) as raised:
        read_address(text)
    line = str(raised.value)
    assert advice in line
    assert HIDDEN not in line
    assert "\n" not in line
    report = check_database(text)
    assert report.exit_code == NOT_CHECKED
    assert report.lines == [f"Cannot check DATABASE_URL: {line}"]


@pytest.mark.parametrize(("mode", "pragma"), [("normal", 1), ("full", 2)])
@pytest.mark.parametrize("setting", ["database_path", "database_url"])
def test_commits_wait_for_the_disk_as_the_setting_says(
    tmp_path: Path, mode: str, pragma: int, setting: str
) -> None:
    file = tmp_path / "q?a" / "x.sqlite"
    file.parent.mkdir()
    value = str(file) if setting == "database_path" else f"sqlite:///{quote(str(file))}"
    engine = open_writing_engine(settings(sqlite_synchronous=mode, **{setting: value}).url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == pragma
    engine.dispose()
    assert file.exists()


def test_a_mode_that_can_corrupt_the_file_is_rejected() -> None:
    with pytest.raises(StorageUnavailableError, match="NORMAL or FULL"):
        read_address("sqlite:///x.sqlite?synchronous=OFF")
