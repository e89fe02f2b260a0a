"""Event feed: events are read in the order of commits, also with concurrent writers."""

import asyncio
from typing import Any

import pytest

from database import Database
from database.executions.event_log import append_execution_events
from database.executions.journal_records import (
    ExecutionResult,
    NodeChanges,
    NodeEnded,
    NodeStarted,
)
from database.queries import event_feed
from database.queries.results import Event, SubscriptionFilter
from database.records import Lease
from database.tables import definitions, events, executions, runs
from engine.document import Node
from engine.errors import ExecutionNotFoundError
from engine.outcome import Progress
from engine.status import ExecutionStatus, NodeStatus
from tests.support.call_trees import DONE, FAILED, claim, submission, write
from tests.support.stored_executions import BEGUN

EVERYTHING = SubscriptionFilter()
NODES = [Node(f"n{number}", "http", f"Node {number}", {}) for number in range(3)]


async def test_readers_do_not_skip_uncommitted_events(database: Database) -> None:
    ids = [f"e{i}" for i in range(8)]

    def create(connection) -> None:
        connection.execute(definitions.insert().values(hash="h", document="{}", createdAt="now"))
        for execution_id in ids:
            connection.execute(
                executions.insert().values(id=execution_id, workflowId="w", status="running")
            )
            connection.execute(
                runs.insert().values(
                    executionId=execution_id,
                    organization="",
                    definitionHash="h",
                    workflowName="A workflow",
                    totalNodes=0,
                    claimableAt=None,
                )
            )

    writer = database.journal._writer
    await writer.run(create)
    done = asyncio.Event()

    async def write(execution_id: str) -> None:
        for _ in range(25):
            await writer.run(lambda c: append_execution_events(c, [execution_id], "now"))

    async def read() -> list[tuple[int, str, int]]:
        seen: list[tuple[int, str, int]] = []
        position, is_last_read = 0, False
        while not is_last_read:
            is_last_read = done.is_set()
            more = True
            while more:
                found, position, more = await database.event_feed.read_after(
                    position, SubscriptionFilter(), 7
                )
                seen += [(e.position, e.execution_id, e.seq) for e in found]
        return seen

    reading = asyncio.create_task(read())
    await asyncio.gather(*(write(execution_id) for execution_id in ids))
    done.set()
    seen = await reading
    assert len(seen) == len(ids) * 25
    assert [position for position, _, _ in seen] == sorted({position for position, _, _ in seen})
    for execution_id in ids:
        assert [seq for _, i, seq in seen if i == execution_id] == list(range(1, 26))


async def run(database: Database, execution_id: str = "e", **values: Any) -> Lease:
    """Submit and claim an execution."""
    await database.submissions.submit(submission(execution_id, **values))
    return await claim(database)


async def run_nodes(database: Database, lease: Lease, count: int = 1) -> int:
    """Run nodes of an execution one after the other; return its sequence number."""
    seq, record = BEGUN, database.journal.record_step
    for number, node in enumerate(NODES[:count]):
        begins = NodeChanges(started=[NodeStarted(node, '{"in": 1}', 1, resumed=False)])
        seq = await record(lease, seq, Progress(3, number, 0, 0), node.id, begins)
        ended = NodeEnded(node.id, NodeStatus.COMPLETED, 5, '{"out": 1}', "{}")
        progress = Progress(3, number + 1, 0, 0)
        seq = await record(lease, seq, progress, None, NodeChanges(ended=[ended]))
    return seq


async def finish(database: Database, lease: Lease, seq: int, result: ExecutionResult = DONE) -> int:
    await database.journal.finish(lease, seq, result)
    return seq + 1


async def events_of(database: Database, execution_id: str = "e") -> list[Event]:
    interest = SubscriptionFilter(frozenset({execution_id}))
    found, _, more = await database.event_feed.read_after(0, interest, 1_000)
    assert not more
    return found


async def test_an_event_shows_a_node_run_as_it_was_at_its_time(database: Database) -> None:
    lease = await run(database)
    seq = await run_nodes(database, lease)
    await finish(database, lease, seq)
    started, ended = [event for event in await events_of(database) if event.log]
    assert started.log is not None
    assert ended.log is not None
    assert (started.log.status, started.progress.completed) == ("running", 0)
    assert started.log.input_data == ended.log.input_data
    assert (started.log.output_data, started.log.duration, started.log.ended_at) == (None,) * 3
    assert (ended.log.status, ended.log.duration, ended.progress.completed) == ("completed", 5, 1)
    assert ended.log.output_data is not None
    assert ended.log.output_data.text == '{"out": 1}'
    assert ended.log.ended_at is not None
    assert started.current_node_id == "n0"
    assert ended.current_node_id is None


async def test_only_the_end_of_an_execution_has_its_result(database: Database) -> None:
    lease = await run(database)
    await finish(database, lease, await run_nodes(database, lease))
    *others, end = await events_of(database)
    assert end.status == ExecutionStatus.COMPLETED
    assert end.final_output is not None
    assert end.final_output.text == '{"n": 1}'
    assert {(event.error, event.final_output) for event in others} == {(None, None)}
    failed = await run(database, "failed")
    await finish(database, failed, await run_nodes(database, failed), FAILED)
    *others, end = await events_of(database, "failed")
    assert (end.error, end.final_output) == ("out of paper", None)
    assert {event.error for event in others} == {None}


async def test_a_page_of_events_is_full_or_ends_at_the_last_event(database: Database) -> None:
    await run_nodes(database, await run(database))
    every = await events_of(database)
    last = await database.event_feed.last_position()
    read = database.event_feed.read_after
    found, position, more = await read(0, EVERYTHING, len(every))
    assert (found, position, more) == (every, every[-1].position, True)
    assert await read(position, EVERYTHING, 5) == ([], last, False)
    found, position, more = await read(0, EVERYTHING, len(every) + 1)
    assert (found, position, more) == (every, last, False)
    found, position, more = await read(every[0].position, EVERYTHING, 2)
    assert (found, position, more) == (every[1:3], every[2].position, True)


async def test_events_of_other_executions_and_organizations_are_not_read(
    database: Database,
) -> None:
    for number, organization_id in enumerate(("one", "two", None)):
        await run(database, f"e{number}", organization_id=organization_id)
    last = await database.event_feed.last_position()

    async def read(interest: SubscriptionFilter) -> set[str]:
        found, position, more = await database.event_feed.read_after(0, interest, 100)
        assert (position, more) == (last, False)
        return {event.execution_id for event in found}

    assert await read(EVERYTHING) == {"e0", "e1", "e2"}
    assert await read(SubscriptionFilter(organization_id="one")) == {"e0"}
    assert await read(SubscriptionFilter(frozenset({"e1", "e2"}))) == {"e1", "e2"}
    assert await read(SubscriptionFilter(frozenset({"e0", "e1"}), "two")) == {"e1"}
    assert await read(SubscriptionFilter(frozenset())) == set()


async def test_a_poller_gets_all_changes_and_the_events_that_it_wants(database: Database) -> None:
    await run(database, "old", organization_id="one")
    position = await database.event_feed.last_position()
    first = await run(database, "first", organization_id="one")
    await run(database, "second")
    await finish(database, first, BEGUN)
    asked: set[tuple[str, str | None]] = set()

    def wanted(execution_id: str, organization_id: str | None) -> bool:
        asked.add((execution_id, organization_id))
        return execution_id == "second"

    changes, found, end, more = await database.event_feed.tail(position, wanted, 100)
    assert asked == {("first", "one"), ("second", None)}
    assert {(each.execution_id, each.seq, each.has_ended) for each in changes} == {
        ("first", 3, True),
        ("second", 2, False),
    }
    assert {event.execution_id for event in found} == {"second"}
    assert (end, more) == (await database.event_feed.last_position(), False)
    none = await database.event_feed.tail(position, lambda *_: False, 100)
    assert none[1:] == ([], end, False)
    assert len(none[0]) == 2


async def test_a_position_is_found_for_each_sequence_number(database: Database) -> None:
    await run(database, "before")
    lease = await run(database)
    await run(database, "after")
    last_seq = await run_nodes(database, lease)
    every = await events_of(database)
    position_after = database.event_feed.position_after
    for seq in range(last_seq):
        position = await position_after("e", seq)
        assert position is not None
        found, _, _ = await database.event_feed.read_after(
            position, SubscriptionFilter(frozenset({"e"})), 100
        )
        assert found == every[seq:]
    top = await database.event_feed.last_position()
    assert await position_after("e", last_seq) == top
    assert await position_after("e", last_seq + 1) is None
    with pytest.raises(ExecutionNotFoundError):
        await position_after("unknown", 0)


async def test_no_position_is_found_for_a_deleted_event(database: Database) -> None:
    await run(database, "other")
    await run_nodes(database, await run(database))
    deleted = events.delete().where(events.c.executionId == "e", events.c.seq <= 2)
    await write(database, deleted)
    assert await database.event_feed.position_after("e", 0) is None
    assert await database.event_feed.position_after("e", 1) is None
    assert await database.event_feed.position_after("e", 2) is not None


async def test_an_execution_of_another_program_has_no_events(database: Database) -> None:
    row = {"id": "foreign", "workflowId": "w", "status": "paused"}
    await write(database, executions.insert().values(**row))
    top = await database.event_feed.last_position()
    assert await database.event_feed.position_after("foreign", 0) == top
    assert await database.event_feed.position_after("foreign", 1) is None
    changes = await database.event_feed.last_changes(["foreign", "unknown"])
    assert {key: (each.seq, each.has_ended) for key, each in changes.items()} == {
        "foreign": (0, True)
    }


async def test_the_last_changes_of_executions_show_which_have_ended(database: Database) -> None:
    lease = await run(database, "ended")
    await finish(database, lease, BEGUN)
    await run(database, "running")
    await run(database, "other")
    changes = await database.event_feed.last_changes(["ended", "running"])
    assert {key: (each.seq, each.has_ended) for key, each in changes.items()} == {
        "ended": (3, True),
        "running": (2, False),
    }


async def test_snapshots_without_ids_are_those_of_unended_executions(
    database: Database,
) -> None:
    lease = await run(database, "ended", organization_id="one")
    await finish(database, lease, BEGUN)
    for number, organization_id in enumerate(("one", "two", "one")):
        await run(database, f"e{number}", organization_id=organization_id)
    last = await database.event_feed.last_position()

    async def read(interest: SubscriptionFilter) -> list[str]:
        found, position = await database.event_feed.snapshots(interest)
        assert position == last
        return [snapshot.execution.id for snapshot in found]

    assert await read(EVERYTHING) == ["e2", "e1", "e0"]
    assert await read(SubscriptionFilter(organization_id="one")) == ["e2", "e0"]
    assert await read(SubscriptionFilter(frozenset({"ended"}))) == ["ended"]
    with pytest.raises(ExecutionNotFoundError):
        await read(SubscriptionFilter(frozenset({"unknown"})))


async def test_a_snapshot_has_the_last_node_runs_and_counts_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_nodes(database, await run(database), 3)
    interest = SubscriptionFilter(frozenset({"e"}))

    async def read(most: int) -> tuple[list[str | None], int]:
        monkeypatch.setattr(event_feed, "MIN_SNAPSHOT_LOGS", 1)
        monkeypatch.setattr(event_feed, "MAX_SNAPSHOT_LOGS", most)
        (snapshot,), _ = await database.event_feed.snapshots(interest)
        return [log.node_id for log in snapshot.logs], snapshot.omitted_logs

    assert await read(4) == (["n0", "n1", "n2"], 0)
    assert await read(3) == (["n0", "n1", "n2"], 0)
    assert await read(2) == (["n1", "n2"], 1)


async def test_many_snapshots_share_their_limits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"a", "b", "c"}
    for execution_id in sorted(ids):
        await run_nodes(database, await run(database, execution_id), 3)
    monkeypatch.setattr(event_feed, "MIN_SNAPSHOT_LOGS", 1)
    monkeypatch.setattr(event_feed, "MAX_SNAPSHOT_LOGS", 6)
    found, _ = await database.event_feed.snapshots(SubscriptionFilter(frozenset(ids)))
    assert [(len(each.logs), each.omitted_logs) for each in found] == [(2, 1)] * 3
    monkeypatch.setattr(event_feed, "MIN_SNAPSHOT_LOGS", 3)
    found, _ = await database.event_feed.snapshots(SubscriptionFilter(frozenset(ids)))
    assert [(len(each.logs), each.omitted_logs) for each in found] == [(3, 0)] * 3
    monkeypatch.setattr(event_feed, "MAX_SNAPSHOTS", 2)
    found, _ = await database.event_feed.snapshots(EVERYTHING)
    assert [each.execution.id for each in found] == ["c", "b"]


async def test_the_payloads_of_a_snapshot_are_cut_to_a_power_of_two(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await run(database)
    started = NodeStarted(NODES[0], f'"{"x" * 5_000}"', 1, resumed=False)
    changes = NodeChanges(started=[started])
    await database.journal.record_step(lease, BEGUN, Progress(1, 0, 0, 0), "n0", changes)

    async def shown(characters: int) -> int:
        monkeypatch.setattr(event_feed, "MAX_SNAPSHOT_CHARS", characters)
        (snapshot,), _ = await database.event_feed.snapshots(SubscriptionFilter(frozenset({"e"})))
        assert snapshot.logs[0].input_data is not None
        return len(snapshot.logs[0].input_data.text)

    assert await shown(1) == 256
    assert await shown(511) == 256
    assert await shown(512) == 512
    assert await shown(4_095) == 2_048
    assert await shown(8_192) == 5_002


async def test_only_the_event_of_a_waiting_node_has_its_question(database: Database) -> None:
    lease = await run(database)
    begins = NodeChanges(started=[NodeStarted(NODES[0], "{}", 1, resumed=False)])
    record, progress = database.journal.record_step, Progress(1, 0, 0, 0)
    seq = await record(lease, BEGUN, progress, "n0", begins)
    detail = '{"message": "Pay?", "park": {}}'
    waits = NodeEnded("n0", NodeStatus.WAITING, 1, "{}", detail)
    seq = await record(lease, seq, progress, "n0", NodeChanges(ended=[waits]))

    async def messages() -> list[str | None]:
        return [event.log.message for event in await events_of(database) if event.log]

    assert await messages() == [None, "Pay?"]
    ended = NodeEnded("n0", NodeStatus.COMPLETED, 1, "{}", detail)
    await record(lease, seq, Progress(1, 1, 0, 0), None, NodeChanges(ended=[ended]))
    assert await messages() == [None, None, None]
