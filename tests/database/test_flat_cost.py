"""Flat cost: no operation reads more among many executions, or in one with many nodes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from database import Database
from database.executions.callbacks import AttemptFailure
from database.executions.inputs import IdempotencyKey
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeStarted,
)
from database.queries.log_pages import LogPageRequest
from database.queries.polls import PollRequest
from database.queries.results import (
    ExecutionCursor,
    ExecutionFilter,
    SubscriptionFilter,
    WorkflowCursor,
)
from database.records import Lease
from engine.document import Node
from engine.outcome import Progress
from engine.status import TERMINAL, ExecutionStatus, NodeStatus
from tests.database.conftest import EXAMPLES
from tests.support.call_trees import submission
from tests.support.database_work import counted_work, growth
from tests.support.ended_executions import fill, fill_nodes
from tests.support.fake_clock import MovingClock
from tests.support.postgres import new_postgres_database
from tests.support.prepared_databases import copy_prepared_sqlite

FEW, MANY = 600, 6_000
"""Numbers of ended executions in the two databases."""
PAGE = 20
LEASE = 30.0
NODE = Node("a", "trigger", "A", {})

Operations = list[tuple[str, Callable[[], Awaitable[Any]]]]


def lists(database: Database) -> Operations:
    """Return every kind of list, with and without a cursor."""
    failed, running = frozenset({ExecutionStatus.FAILED}), frozenset({ExecutionStatus.RUNNING})
    filters = {
        "all": ExecutionFilter(),
        "running": ExecutionFilter(statuses=running),
        "failed": ExecutionFilter(statuses=failed),
        "failed or running": ExecutionFilter(statuses=failed | running),
        "ended": ExecutionFilter(statuses=TERMINAL),
        "organization": ExecutionFilter("many"),
        "rare organization": ExecutionFilter("few"),
        "failed of organization": ExecutionFilter("many", statuses=failed),
        "rare workflow": ExecutionFilter(workflow_id="rare"),
        "running of workflow": ExecutionFilter(workflow_id="w", statuses=running),
        "failed of workflow of organization": ExecutionFilter("many", "w", statuses=failed),
        "children": ExecutionFilter(parent_id="e000005"),
        "failed children": ExecutionFilter(parent_id="e000015", statuses=failed),
    }
    cursor = ExecutionCursor("2025-12-31T23:58:00.000Z", 0, "e")
    listed = database.listings.executions
    found: Operations = []
    for name, wanted in filters.items():
        found.append((name, lambda wanted=wanted: listed(wanted, PAGE)))
        found.append((f"{name}, next", lambda wanted=wanted: listed(wanted, PAGE, cursor)))
    of_workflow, saved = database.listings.executions_of, database.listings.workflows
    next_workflow = WorkflowCursor("2025-01-01T00:00:00.000500Z", "w500")
    return [
        *found,
        ("of a rare workflow", lambda: of_workflow("rare", PAGE)),
        ("workflows", lambda: saved(None, PAGE)),
        ("workflows, next", lambda: saved(None, PAGE, next_workflow)),
        ("workflows of an organization", lambda: saved("many", PAGE)),
    ]


def reads(database: Database) -> Operations:
    """Return the reads of one execution, and those of streams."""
    feed, name = database.event_feed, "e000100"
    key = IdempotencyKey("many", name, "b")
    everything, one = SubscriptionFilter(), SubscriptionFilter(frozenset({name}))
    poll = PollRequest(name, LEASE, last=10, cut_at=8_192, output_characters=1_000)
    return [
        ("poll", lambda: database.polls.read(poll)),
        ("logs", lambda: database.log_pages.read(LogPageRequest(name, 0, 100, 10_000))),
        ("rerun", lambda: database.queries.past_run(name)),
        ("key", lambda: database.submissions.find_by_key(key)),
        ("caller", lambda: database.child_executions.caller(name)),
        ("nothing to delete", lambda: database.retention.delete_expired(2, MANY)),
        ("response", lambda: database.webhook_responses.first(name, "webhookResponse")),
        ("snapshots", lambda: feed.snapshots(everything)),
        ("snapshot", lambda: feed.snapshots(one)),
        ("position", lambda: feed.position_after(name, 0)),
    ]


def steps(database: Database) -> Operations:
    """Return the life of an execution, in this order."""
    queue, journal, lease = database.queue, database.journal, Lease("new", "me", LEASE)
    key = IdempotencyKey("many", "new", "b")
    begun = NodeChanges(started=[NodeStarted(NODE, "{}", 1, resumed=False)])
    ended = NodeChanges([NodeEnded("a", NodeStatus.COMPLETED, 1, "{}")])
    done = ExecutionResult(ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, "{}", "{}")
    new = submission("new", idempotency=key, callback_url="http://h/")
    position: list[int] = []

    async def tail() -> None:
        await database.event_feed.tail(position[0], lambda *_: True, 100)

    async def note() -> None:
        position.append(await database.event_feed.last_position())

    async def deliver() -> None:
        delivery = await database.callbacks.claim("me", "h", LEASE)
        assert delivery is not None
        await database.callbacks.record_failure(delivery, AttemptFailure("busy"), 5)
        await database.callbacks.record_delivery(delivery, 200)

    return [
        ("last position", note),
        ("submission", lambda: database.submissions.submit(new, 100, 100)),
        ("pending poll", lambda: database.polls.read(PollRequest("new", LEASE))),
        ("pending list", lambda: database.listings.executions(pending(), PAGE)),
        ("claim", lambda: queue.claim("me", 1, LEASE, isolate_after=2)),
        ("release", lambda: queue.release(lease)),
        ("second claim", lambda: queue.claim("me", 1, LEASE, isolate_after=2)),
        ("link", lambda: queue.link_flow_run(lease, "f")),
        ("renewal", lambda: queue.renew("me", ["new"], LEASE)),
        ("cancellations", lambda: queue.cancellations("me")),
        ("load", lambda: journal.load(lease)),
        ("step", lambda: journal.record_step(lease, 4, Progress(1, 0, 0, 0), "a", begun)),
        ("running list", lambda: database.listings.executions(running(), PAGE)),
        ("end", lambda: journal.finish(lease, 5, done, ended)),
        ("tail", tail),
        ("idle claim", lambda: queue.claim("me", 1, LEASE, isolate_after=2)),
        ("foreign ends", queue.settle_foreign_ends),
        ("sweep", database.child_executions.sweep),
        ("due callbacks", database.callbacks.due_by_host),
    ]


def pending() -> ExecutionFilter:
    return ExecutionFilter(statuses=frozenset({ExecutionStatus.PENDING}))


def running() -> ExecutionFilter:
    return ExecutionFilter(statuses=frozenset({ExecutionStatus.RUNNING}))


def maintenance(database: Database) -> Operations:
    """Return the deletion of old rows; the last second of the fill stays."""
    retention = database.retention
    return [
        ("deletion by age", lambda: retention.delete_expired(1e-9, None)),
        ("deletion by count", lambda: retention.delete_expired(None, 100)),
        ("keys", retention.delete_expired_keys),
        ("payloads", retention.delete_unused_payloads),
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_operations_read_the_same_among_many_executions(kind: str, tmp_path: Path) -> None:
    few = await measured(kind, tmp_path / "few.sqlite", FEW)
    many = await measured(kind, tmp_path / "many.sqlite", MANY)
    assert growth(few, many) == {}


async def measured(kind: str, path: Path, count: int) -> dict[str, int]:
    """Return the work of each operation in a database with ``count`` ended executions."""
    async with opened(kind, path) as database:
        await fill(database, count)
        # The first search reads all executions that stay; the next one only if something changed.
        assert await database.retention.delete_expired(None, MANY) == 0
        found: dict[str, int] = {}
        for part in (lists, reads, steps, maintenance):
            for name, operation in part(database):
                with counted_work() as work:
                    await operation()
                found[name] = work.amount
        return found


@asynccontextmanager
async def opened(kind: str, path: Path) -> AsyncIterator[Database]:
    """Yield a new database."""
    async with AsyncExitStack() as stack:
        if kind == "postgresql":
            url = await stack.enter_async_context(new_postgres_database(EXAMPLES))
        else:
            copy_prepared_sqlite(path, EXAMPLES)
            url = f"sqlite+aiosqlite:///{path}"
        database = Database(url, MovingClock())
        stack.push_async_callback(database.close)
        yield database


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_step_reads_the_same_in_an_execution_with_many_nodes(
    kind: str, tmp_path: Path
) -> None:
    few = await measured_steps(kind, tmp_path / "few.sqlite", 50)
    many = await measured_steps(kind, tmp_path / "many.sqlite", 3_000)
    assert growth(few, many) == {}


async def measured_steps(kind: str, path: Path, count: int) -> dict[str, int]:
    """Return the work of the operations of an execution of which ``count`` nodes have ended."""
    async with opened(kind, path) as database:
        await database.submissions.submit(submission("e"))
        (run,) = await database.queue.claim("me", 1, LEASE)
        lease = run.lease
        await fill_nodes(database, "e", count)
        journal, progress = database.journal, Progress(count + 2, count, 0, 0)
        start = NodeChanges(started=[NodeStarted(NODE, "{}", 1, resumed=False)])
        ended = NodeChanges([NodeEnded("a", NodeStatus.COMPLETED, 1, "{}")])
        poll = PollRequest("e", LEASE, last=10, cut_at=8_192, output_characters=1_000)
        top = await database.event_feed.last_position()
        seq = count + 2
        operations: Operations = [
            ("start", lambda: journal.record_step(lease, seq, progress, "a", start)),
            ("report", lambda: journal.record_report(lease, seq + 1, "a", 50, None)),
            ("poll", lambda: database.polls.read(poll)),
            ("end", lambda: journal.record_step(lease, seq + 2, progress, None, ended)),
            ("tail", lambda: database.event_feed.tail(top, lambda *_: True, 100)),
            ("position", lambda: database.event_feed.position_after("e", seq)),
            ("renewal", lambda: database.queue.renew("me", ["e"], LEASE)),
            ("cancellations", lambda: database.queue.cancellations("me")),
        ]
        found: dict[str, int] = {}
        for name, operation in operations:
            with counted_work() as work:
                await operation()
            found[name] = work.amount
        return found
