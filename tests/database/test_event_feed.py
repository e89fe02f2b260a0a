"""Event feed: events are read in the order of commits, also with concurrent writers."""

import asyncio

from database import Database
from database.executions.event_log import append_execution_events
from database.queries.results import SubscriptionFilter
from database.tables import definitions, executions, runs


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
