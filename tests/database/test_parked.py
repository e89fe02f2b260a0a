"""Parked executions: ten thousand of them do not slow the queue down."""

from pathlib import Path

from sqlalchemy import Connection, text

from database import Database, ExampleWorkflow
from tests.support.fake_clock import MovingClock

PARKED = 10_000


def park(connection: Connection) -> None:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PARKED})"
    connection.exec_driver_sql("INSERT INTO orchestrator_definitions VALUES ('d', '{}', '')")
    connection.exec_driver_sql(
        "INSERT INTO workflow_executions(id, workflowId, status)"
        f" {numbers} SELECT 'e' || i, 'w', 'waiting' FROM n"
    )
    connection.exec_driver_sql(
        "INSERT INTO orchestrator_runs"
        "(executionId, definitionHash, workflowName, totalNodes, claimableAt)"
        f" {numbers} SELECT 'e' || i, 'd', 'W', 1,"
        " CASE WHEN i % 2 THEN '2030-01-01T00:00:00.000Z' END FROM n"
    )


async def test_claims_do_not_read_parked_executions(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}", MovingClock())
    await database.prepare([ExampleWorkflow("w", "W", "{}")])
    await database._access.writer.run(park)
    steps_by_query: list[int] = []

    class CountingReader:
        """Reader that counts the steps of SQLite's machine."""

        async def run(self, query, *, snapshot: bool = True, brief: bool = False):
            def count_steps(connection: Connection):
                steps = 0

                def step() -> int:
                    nonlocal steps
                    steps += 1
                    return 0

                raw = connection.connection.driver_connection
                assert raw is not None
                raw.set_progress_handler(step, 1)
                result = query(connection)
                raw.set_progress_handler(None, 1)
                steps_by_query.append(steps)
                return result

            return await database._access.reader.run(count_steps, snapshot=snapshot, brief=brief)

    database.queue._reader = CountingReader()  # type: ignore[assignment]
    assert await database.queue.claim("me", 16, 30) == []
    assert await database.queue.cancellations("me") == []
    assert await database.queue.renew("me", [], 30) == set()
    # Reading a row takes several steps.
    assert sum(steps_by_query) < 1_000
    query = text("SELECT count(*) FROM orchestrator_runs")
    count = await database._access.reader.run(lambda connection: connection.scalar(query))
    assert count == PARKED
    await database.close()
