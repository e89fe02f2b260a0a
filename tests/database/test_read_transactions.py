"""Read transactions: frequent reads of one statement begin none, and brief ones share a thread."""

import threading
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Connection, Engine, event

from database import Database
from database.executions.inputs import IdempotencyKey
from database.queries.polls import PollRequest
from database.queries.results import SubscriptionFilter
from tests.support.call_trees import LEASE, claim, submission
from tests.support.statements import recorded_statements

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

Read = Callable[[], Awaitable[object]]


def single_reads(database: Database) -> dict[str, Read]:
    """Return reads that need no snapshot."""
    queue, feed, permits = database.queue, database.event_feed, database.permits
    key = IdempotencyKey("", "key", "hash")
    return {
        "next due": lambda: queue.next_due(database.clock()),
        "cancellations": lambda: queue.cancellations("me"),
        "foreign ends": queue.settle_foreign_ends,
        "sweep of calls": database.child_executions.sweep,
        "due schedules": lambda: database.firings.due(9),
        "bulk operations": lambda: database.bulk_work.claim("me", 9, LEASE),
        "idempotency key": lambda: database.submissions.find_by_key(key),
        "expired keys": database.retention.delete_expired_keys,
        "expired executions": lambda: database.retention.delete_expired(1, 1),
        "permits": lambda: permits.grant(["request"]),
        "claimable": permits.has_claimable,
        "parked permits": permits.wake,
        "orphaned permits": lambda: permits.delete_orphaned(LEASE),
        "last position": feed.last_position,
        "events": lambda: feed.read_after(0, SubscriptionFilter(), 9),
        "tail": lambda: feed.tail(0, lambda *_: True, 9),
        "last changes": lambda: feed.last_changes(["e"]),
    }


def brief_reads(database: Database) -> dict[str, Read]:
    """Return reads of a few rows that many clients repeat."""
    return {
        "workflow": lambda: database.queries.workflow("w"),
        "poll": lambda: database.polls.read(PollRequest("e", LEASE)),
        "idle claim": lambda: database.queue.claim("me", 9, LEASE),
        "due callbacks": database.callbacks.due_by_host,
    }


async def threads_of(read: Read) -> tuple[list[str], list[str]]:
    """Return the statements of a read, and the names of the threads that sent them."""
    threads: list[str] = []
    with recorded_statements(
        on_record=lambda _: threads.append(threading.current_thread().name)
    ) as statements:
        await read()
    return [statement.sql.split()[0] for statement in statements], threads


@on_sqlite
async def test_a_read_without_a_snapshot_begins_no_transaction(database: Database) -> None:
    await database.submissions.submit(submission("e"))
    lease = await claim(database)
    reads = single_reads(database)
    reads["load"] = lambda: database.journal.load(lease)
    reads["resumptions"] = lambda: database.journal.resumptions(lease)
    for name, read in reads.items():
        statements, _ = await threads_of(read)
        assert set(statements) <= {"SELECT", "WITH"}, name
        assert statements, name


@on_sqlite
async def test_brief_reads_share_a_thread(database: Database) -> None:
    await database.submissions.submit(submission("e"))
    await claim(database)
    for name, read in brief_reads(database).items():
        statements, threads = await threads_of(read)
        assert statements, name
        assert set(threads) == {"reader-brief"}, name


@on_sqlite
async def test_reads_of_several_statements_see_one_snapshot(database: Database) -> None:
    await database.submissions.submit(submission("e"))
    reads: dict[str, Read] = {
        "execution": lambda: database.queries.execution("e"),
        "logs": lambda: database.queries.logs("e"),
        "position": lambda: database.event_feed.position_after("e", 0),
        "snapshots": lambda: database.event_feed.snapshots(SubscriptionFilter()),
    }
    for name, read in reads.items():
        statements, _ = await threads_of(read)
        assert statements[0] == "BEGIN", name


async def isolation_levels_of(read: Read) -> set[object]:
    """Return the isolation levels of the statements of a read."""
    levels: set[object] = set()

    def record(connection: Connection, *_: object) -> None:
        levels.add(connection.get_execution_options().get("isolation_level"))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        await read()
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    return levels


@on_postgresql
async def test_postgresql_answers_such_a_read_without_a_transaction(database: Database) -> None:
    await database.submissions.submit(submission("e"))
    lease = await claim(database)
    reads = single_reads(database) | brief_reads(database)
    reads["load"] = lambda: database.journal.load(lease)
    reads["resumptions"] = lambda: database.journal.resumptions(lease)
    poll = reads.pop("poll")  # its statements must agree
    for name, read in reads.items():
        assert await isolation_levels_of(read) == {"AUTOCOMMIT"}, name
    assert await isolation_levels_of(poll) == {"REPEATABLE READ"}
