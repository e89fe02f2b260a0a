"""Resumptions in the database: which nodes accept one, and the reason if they do not."""

import pytest

from database import Database
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted, RetryLater
from database.tables import CLAIMABLE_NOW, runs
from engine.document import Node
from engine.errors import ExecutionNotFoundError, NotWaitingError, RetryTakesNoDataError
from engine.loops import FOR_EACH
from engine.outcome import Progress
from engine.parking import Resumption
from engine.status import NodeStatus, WaitingFor
from tests.support.call_trees import claim, rows, submission
from tests.support.stored_executions import BEGUN

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

LATER = "2026-06-01T00:00:00.000Z"
BEGINS = Progress(1, 0, 0, 0)


async def parked(
    database: Database, execution_id: str, node_type: str = "custom", *, retries: bool = False
) -> None:
    """Park an execution whose node waits, for its next attempt or for a resumption."""
    await database.submissions.submit(submission(execution_id))
    lease = await claim(database)
    started = NodeStarted(Node("n", node_type, "N", {}), "{}", 1, resumed=False)
    journal = database.journal
    seq = await journal.record_step(lease, BEGUN, BEGINS, "n", NodeChanges(started=[started]))
    waits = NodeEnded(
        "n",
        NodeStatus.WAITING,
        0,
        None if retries else "{}",
        None if retries else '{"park": {}}',
        wait_until=LATER if retries else None,
        retry=RetryLater(2, 1, "broke") if retries else None,
    )
    await journal.record_step(lease, seq, BEGINS, None, NodeChanges([waits]))
    await journal.park(lease, None)


async def waiting_for(database: Database, execution_id: str) -> WaitingFor | None:
    (log,) = await database.queries.logs(execution_id)
    assert log.status == NodeStatus.WAITING
    return log.waiting_for


async def claimable(database: Database) -> dict[str, str | None]:
    return {row.executionId: row.claimableAt for row in await rows(database, runs)}


async def test_a_retry_starts_earlier_and_takes_no_data(database: Database) -> None:
    await parked(database, "e", retries=True)
    await parked(database, "other", retries=True)
    before = await claimable(database)
    for data in (Resumption(data={"n": 1}), Resumption(approved=False)):
        with pytest.raises(RetryTakesNoDataError):
            await database.journal.resume("e", "n", data)
    assert await claimable(database) == before
    assert await waiting_for(database, "e") == WaitingFor.RETRY
    await database.journal.resume("e", "n", Resumption())
    assert await waiting_for(database, "e") is None
    assert await claimable(database) == {**before, "e": CLAIMABLE_NOW}
    for again in (Resumption(), Resumption(data={"n": 1})):
        with pytest.raises(NotWaitingError, match="already resumed"):
            await database.journal.resume("e", "n", again)


async def test_a_loop_is_not_resumed_but_its_retry_is(database: Database) -> None:
    await parked(database, "loop", FOR_EACH)
    for each in (Resumption(), Resumption(data={"n": 1})):
        with pytest.raises(NotWaitingError, match="running its items"):
            await database.journal.resume("loop", "n", each)
    assert await waiting_for(database, "loop") == WaitingFor.ITEMS
    await parked(database, "retry", FOR_EACH, retries=True)
    await database.journal.resume("retry", "n", Resumption())
    with pytest.raises(NotWaitingError, match="already resumed"):
        await database.journal.resume("retry", "n", Resumption())


async def test_only_a_waiting_node_of_an_existing_execution_is_resumed(database: Database) -> None:
    await parked(database, "e")
    with pytest.raises(ExecutionNotFoundError):
        await database.journal.resume("unknown", "n", Resumption())
    for node_id in ("unknown", "n\0"):
        with pytest.raises(NotWaitingError, match="has not been reached"):
            await database.journal.resume("e", node_id, Resumption())
    assert await waiting_for(database, "e") == WaitingFor.RESUME
    await database.journal.resume("e", "n", Resumption(data={"n": 1}))
    assert await waiting_for(database, "e") is None
    with pytest.raises(NotWaitingError, match="already resumed"):
        await database.journal.resume("e", "n", Resumption())
    lease = await claim(database)
    ended = NodeEnded("n", NodeStatus.COMPLETED, 1, "{}", "{}")
    changes = NodeChanges([ended])
    await database.journal.record_step(lease, BEGUN + 3, Progress(1, 1, 0, 0), None, changes)
    with pytest.raises(NotWaitingError, match="completed"):
        await database.journal.resume("e", "n", Resumption())
