"""Hidden waits: data that ends the wait of a node with ``hideData`` is stored encrypted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from database import Database
from database.encryption import DataEncryption
from database.executions.human_tasks import Answer
from database.executions.journal_records import NodeChanges, NodeEnded, NodeStarted
from database.external_events.records import NewEvent
from database.human_tasks.records import TaskFilter
from database.records import Lease
from database.tables import logs
from database.waiting_tables import task_answers
from engine.document import Node
from engine.event_waits import AwaitedEvent
from engine.human_tasks import TaskRequest
from engine.outcome import Progress
from engine.parking import ParkedNode, Resumption
from engine.status import NodeStatus
from tests.support.call_trees import LEASE, rows, submission
from tests.support.fake_clock import MovingClock
from tests.support.stored_executions import BEGUN

SECRET = "4711 is the PIN"
PAYLOAD: dict[str, Any] = {"pin": SECRET}
PARK: dict[str, Any] = {"outputData": None, "park": {"event": {}}}
BEGINS = Progress(1, 0, 0, 0)
KEPT_SECONDS = 60


@pytest.fixture
async def encrypting(database: Database, clock: MovingClock) -> AsyncIterator[Database]:
    """Yield the database with a key."""
    opened = Database(database._url, clock, encryption=DataEncryption("a key of sixteen+", None))
    yield opened
    await opened.close()


async def park(database: Database, execution_id: str, *, hides: bool = True, **waits: Any) -> Lease:
    """Park the node ``ask`` of a new execution."""
    await database.submissions.submit(submission(execution_id))
    (run,) = await database.queue.claim("me", 1, LEASE)
    started = NodeStarted(
        Node("ask", "approval", "Ask", {"hideData": hides}), "null", 1, resumed=False
    )
    await database.journal.record_step(
        run.lease, BEGUN, BEGINS, "ask", NodeChanges(started=[started])
    )
    detail = database.journal.encryption.encrypt(PARK) if hides else '{"park": {"event": {}}}'
    ended = NodeEnded("ask", NodeStatus.WAITING, 0, "null", detail, **waits)
    await database.journal.record_step(
        run.lease, BEGUN + 1, BEGINS, "ask", NodeChanges(ended=[ended])
    )
    return run.lease


async def stored(database: Database) -> str:
    return repr([*await rows(database, logs), *await rows(database, task_answers)])


async def resumption_of(database: Database, lease: Lease) -> Resumption:
    """Return the resumption of the node, which the running and the next owner read equally."""
    found = (await database.journal.resumptions(lease))["ask"]
    (parked,) = (await database.journal.load(lease)).parked.values()
    assert isinstance(parked, ParkedNode)
    assert parked.resumption == found
    return found


def event() -> NewEvent:
    return NewEvent("event", "", "paid", "7", '{"pin": "' + SECRET + '"}', None)


@pytest.mark.parametrize("is_first", [True, False], ids=["before the node", "after the node"])
async def test_the_payload_of_an_event(encrypting: Database, *, is_first: bool) -> None:
    if is_first:
        await encrypting.external_events.accept(event(), KEPT_SECONDS, 10)
    lease = await park(encrypting, "e", event=AwaitedEvent("paid", "7"))
    if not is_first:
        await encrypting.external_events.accept(event(), KEPT_SECONDS, 10)
    assert SECRET not in await stored(encrypting)
    assert (await resumption_of(encrypting, lease)).data == PAYLOAD


async def test_one_event_ends_waits_of_nodes_that_hide_their_data_and_of_others(
    encrypting: Database,
) -> None:
    hidden = await park(encrypting, "hidden", event=AwaitedEvent("paid", "7"))
    shown = await park(encrypting, "shown", hides=False, event=AwaitedEvent("paid", "7"))
    receipt = await encrypting.external_events.accept(event(), KEPT_SECONDS, 10)
    assert (receipt.status, receipt.deliveries) == ("delivered", 2)
    assert (await stored(encrypting)).count(SECRET) == 1
    for lease in (hidden, shown):
        assert (await resumption_of(encrypting, lease)).data == PAYLOAD


async def test_the_data_of_a_resume(encrypting: Database) -> None:
    lease = await park(encrypting, "e")
    await encrypting.journal.resume("e", "ask", Resumption(data=PAYLOAD))
    assert SECRET not in await stored(encrypting)
    assert await resumption_of(encrypting, lease) == Resumption(data=PAYLOAD)


async def test_a_node_that_hides_its_data_does_not_hide_that_of_others(
    encrypting: Database,
) -> None:
    await park(encrypting, "hidden")
    await park(encrypting, "shown", hides=False)
    await encrypting.journal.resume("shown", "ask", Resumption(data=PAYLOAD))
    assert SECRET in await stored(encrypting)


@pytest.mark.parametrize("hides", [True, False])
async def test_the_answers_of_several_people(encrypting: Database, *, hides: bool) -> None:
    lookalike = {"hidden": True, "sealed": "by the client"}
    task = TaskRequest("PIN?", None, ("Ada", "Bob"), 2)
    lease = await park(encrypting, "e", hides=hides, task=task)
    (open_task,) = (await encrypting.human_tasks.page(TaskFilter(), 10)).items
    await encrypting.human_tasks.complete(open_task.id, Answer(True, PAYLOAD, "Ada"))
    await encrypting.human_tasks.complete(open_task.id, Answer(True, lookalike, "Bob"))
    assert (SECRET in await stored(encrypting)) == (not hides)
    assert (await resumption_of(encrypting, lease)).data == PAYLOAD | lookalike
