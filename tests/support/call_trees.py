"""Call trees: parents and children that are stored by the journal, without a running service."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import select

from database import Database
from database.executions.inputs import Child, Submission
from database.executions.journal_records import ExecutionResult, NodeChanges, NodeEnded, NodeStarted
from database.records import Lease
from database.tables import logs
from engine.document import Node
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import ExecutionStatus, NodeStatus
from engine.subworkflow_calls import ChildResult
from tests.support.stored_executions import BEGUN

LEASE = 30.0
CALL = Node("call", "subworkflow", "Call", {})
BEGINS = Progress(1, 0, 0, 0)
DONE = ExecutionResult(ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, "{}", '{"n": 1}')
FAILED = ExecutionResult(ExecutionStatus.FAILED, Progress(1, 0, 1, 0), "out of paper", "{}")
CANCELLED = ExecutionResult(ExecutionStatus.CANCELLED, BEGINS)


def submission(execution_id: str, workflow_id: str = "w", **values: Any) -> Submission:
    organization_id = values.pop("organization_id", None)
    document = values.pop("document", "{}")
    return Submission(
        execution_id, workflow_id, "A workflow", organization_id, document, None, 1, **values
    )


async def claim(database: Database, owner: str = "me") -> Lease:
    (run,) = await database.queue.claim(owner, 1, LEASE)
    return run.lease


def waits_for(
    child_id: str, depth: int = 1, workflow_id: str = "w", root_id: str = "parent"
) -> NodeEnded:
    detail = json.dumps({"park": {"call": {"workflowId": workflow_id, "executionId": child_id}}})
    child = Child(submission(child_id, workflow_id), depth, root_id)
    return NodeEnded("call", NodeStatus.WAITING, 1, "null", detail, child=child)


async def begin_call(database: Database, lease: Lease) -> int:
    started = NodeStarted(CALL, "null", 1, resumed=False)
    return await database.journal.record_step(
        lease, BEGUN, BEGINS, "call", NodeChanges(started=[started])
    )


async def calls(
    database: Database, lease: Lease, child_id: str, depth: int = 1, root_id: str | None = None
) -> int:
    """Start the node and park it for a new child; return the sequence number."""
    seq = await begin_call(database, lease)
    ended = [waits_for(child_id, depth, root_id=root_id or lease.execution_id)]
    return await database.journal.record_step(lease, seq, BEGINS, "call", NodeChanges(ended=ended))


async def running_pair(database: Database) -> tuple[Lease, Lease]:
    """Create a running execution and a running child; return their leases."""
    await database.submissions.submit(submission("parent"))
    parent = await claim(database)
    await calls(database, parent, "child")
    return parent, await claim(database)


async def parked_parent(database: Database) -> Lease:
    """Create a parked execution and a running child; return the child's lease."""
    parent, child = await running_pair(database)
    await database.journal.park(parent, None)
    return child


async def rows(database: Database, table: Any) -> Sequence[Any]:
    return await database._access.reader.run(
        lambda connection: connection.execute(select(table)).all()
    )


async def write(database: Database, statement: Any) -> None:
    await database._access.writer.run(lambda connection: connection.execute(statement))


async def write_without_foreign_keys(database: Database, sql: str) -> None:
    """Execute a statement on SQLite as the main project, which does not enforce foreign keys."""

    def run() -> None:
        with closing(sqlite3.connect(database._url.partition("///")[2])) as connection, connection:
            connection.execute(sql)

    await asyncio.to_thread(run)


async def notified_result(
    database: Database, node_run_id: str = "parent:call"
) -> ChildResult | None:
    resumption = {row.id: row.resumption for row in await rows(database, logs)}[node_run_id]
    return None if resumption is None else Resumption.from_json(json.loads(resumption)).child


async def status(database: Database, execution_id: str) -> str:
    return (await database.queries.execution(execution_id)).status


async def invariants_hold(database: Database) -> bool:
    return await database.find_violations(service_runs=True) == []


async def three_levels(database: Database) -> Lease:
    """Create a parked grandparent, a parked parent and a running child; return its lease."""
    await database.submissions.submit(submission("grandparent"))
    grandparent = await claim(database)
    await calls(database, grandparent, "parent")
    parent = await claim(database)
    await calls(database, parent, "child", 2, "grandparent")
    child = await claim(database)
    await database.journal.park(grandparent, None)
    await database.journal.park(parent, None)
    return child
