"""Two workers on one database: each has its own connections and its own name as an owner.

Everything that claims, locks, resumes, notifies or expires is tested with two workers, because one
worker cannot take an execution from itself.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from database import Database
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.records import Lease
from engine.document import Node
from engine.outcome import Progress
from engine.status import NodeStatus
from tests.support.call_trees import LEASE, submission
from tests.support.stored_executions import BEGUN

ASK = Node("ask", "approval", "Ask", {})
BEGINS = Progress(1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class DatabaseWorker:
    """The database of one process, and the owner of the leases that it takes."""

    owner: str
    database: Database

    async def claim(self, limit: int = 9) -> list[Lease]:
        """Claim executions; return their leases."""
        claimed = await self.database.queue.claim(self.owner, limit, LEASE)
        return [run.lease for run in claimed]

    async def claim_one(self) -> Lease:
        """Claim the only claimable execution."""
        (lease,) = await self.claim()
        return lease

    async def start(self, execution_id: str, **values: Any) -> Lease:
        """Submit an execution and claim it."""
        await self.submit(execution_id, **values)
        return await self.claim_one()

    async def submit(self, execution_id: str, **values: Any) -> str:
        """Submit an execution; return its id or that of the one with the same key."""
        return await self.database.submissions.submit(submission(execution_id, **values))

    async def park(self, lease: Lease, due: Any = None) -> None:
        """Run the node ``ask`` until it waits, and park the execution until ``due``."""
        await self.ask(lease)
        await self.database.journal.park(lease, due)

    async def ask(self, lease: Lease) -> int:
        """Run the node ``ask`` until it waits, and keep the execution."""
        started = NodeChanges(started=[NodeStarted(ASK, "null", 1, resumed=False)])
        record = self.database.journal.record_step
        seq = await record(lease, BEGUN, BEGINS, "ask", started)
        waiting = NodeEnded("ask", NodeStatus.WAITING, 1, "null", '{"park": {}}')
        return await record(lease, seq, BEGINS, "ask", NodeChanges(ended=[waiting]))


Workers = tuple[DatabaseWorker, DatabaseWorker]


async def both(*operations: Any) -> list[Any]:
    """Run the operations of both workers at the same time; return their results."""
    return await asyncio.gather(*operations)
