"""Callback dispatcher: retries on a simulated clock, with misbehaving receivers on real sockets."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from database import Database, ExampleWorkflow
from database.executions.callbacks import CallbackStatus
from database.executions.inputs import Submission
from database.executions.journal_records import ExecutionResult
from engine.outcome import Progress
from engine.status import ExecutionStatus
from flows.callbacks.dispatcher import (
    MAX_CONCURRENT_CALLBACKS,
    MAX_CONCURRENT_CALLBACKS_PER_HOST,
    CallbackSettings,
    dispatch_callbacks_forever,
)
from tasks.context import HandlerSettings
from tests.support.fake_clock import MovingClock
from tests.support.ports import free_port
from tests.support.servers import Request, Response, never, serve
from tests.support.stored_executions import BEGUN, callback_of

OK = Response(200)
HOUR = 3_600.0


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
async def database(tmp_path: Path, clock: MovingClock) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'db.sqlite'}", clock)
    await database.prepare([ExampleWorkflow("w", "A workflow", "{}")])
    yield database
    assert await database.find_violations(service_runs=True) == []
    await database.close()


async def ended(database: Database, execution_id: str, url: str) -> None:
    submission = Submission(
        execution_id=execution_id,
        workflow_id="w",
        workflow_name="A workflow",
        organization_id=None,
        document="{}",
        inputs=None,
        total_nodes=1,
        callback_url=url,
    )
    await database.submissions.submit(submission)
    (run,) = await database.queue.claim("me", 1, 30)
    ending = ExecutionResult(ExecutionStatus.COMPLETED, Progress(1, 1, 0, 0), None, "{}", "{}")
    await database.journal.finish(run.lease, BEGUN, ending)


@asynccontextmanager
async def sending(database: Database, timeout_seconds: float = 10.0) -> AsyncIterator[None]:
    """Run the loop of a service; it polls so often that it notices a moved clock at once."""
    calls = HandlerSettings(http_allowed_hosts="127.0.0.1")
    settings = CallbackSettings(timeout_seconds=timeout_seconds, calls=calls)
    loop = dispatch_callbacks_forever(database, settings, asyncio.Event(), 15, 0.02)
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(
    database: Database, execution_id: str, what: Callable[[CallbackStatus], Any]
) -> Any:
    async with asyncio.timeout(60):
        while True:
            state = await callback_of(database, execution_id)
            assert state is not None
            if response := what(state):
                return response
            await asyncio.sleep(0.01)


async def failure(database: Database, url: str, *, timeout: float = 10.0) -> CallbackStatus:  # noqa: ASYNC109 - of the attempt
    await ended(database, "e", url)
    async with sending(database, timeout):
        await until(database, "e", lambda s: s.last_error)
    state = await callback_of(database, "e")
    assert state is not None
    return state


async def test_a_receiver_that_recovers_gets_the_callback(
    database: Database, clock: MovingClock
) -> None:
    script = [Response(500), Response(503, headers={"Retry-After": "1000"}), Response(400), OK]
    async with serve(script) as server, sending(database):
        await ended(database, "e", server.url)
        for attempt, wait in enumerate((6.25, 1_250.0, 25.0), start=1):
            due = await until(
                database, "e", lambda s, n=attempt: s.attempts == n and s.next_attempt_at
            )
            assert len(server.requests) == attempt
            before = clock()
            clock.advance(wait)  # the delay with its maximum jitter
            assert before.isoformat() < due.replace("Z", "+00:00") <= clock().isoformat()
        await until(database, "e", lambda s: s.delivered_at)
    assert [request.headers["webhook-id"] for request in server.requests] == ["msg_e"] * 4
    moments = [int(request.headers["webhook-timestamp"]) for request in server.requests]
    assert moments == sorted(set(moments))
    assert len({request.body for request in server.requests}) == 1


async def test_a_callback_is_attempted_for_a_day(database: Database, clock: MovingClock) -> None:
    async with serve(Response(500)) as server, sending(database):
        await ended(database, "e", server.url)
        attempts = 0
        while not (state := await settled(database, attempts)).abandoned_at:
            attempts = state.attempts
            clock.advance(1.25 * HOUR)
    assert clock() >= MovingClock().now.replace(day=2)
    assert state.abandoned_at >= "2026-01-02"
    assert len(server.requests) == state.attempts > 19


async def settled(database: Database, attempts: int) -> CallbackStatus:
    return await until(
        database,
        "e",
        lambda s: s if s.attempts > attempts and (s.next_attempt_at or s.abandoned_at) else None,
    )


async def test_a_410_ends_the_attempts_at_once(database: Database) -> None:
    async with serve(Response(410)) as server:
        state = await failure(database, server.url)
    assert (state.attempts, state.last_status) == (1, 410)
    assert state.abandoned_at is not None


async def test_a_redirect_is_a_failure(database: Database) -> None:
    async with (
        serve(OK) as other,
        serve(Response(307, headers={"Location": other.url})) as server,
    ):
        state = await failure(database, server.url)
    assert other.requests == []
    assert state.last_status == 307
    assert "redirects are not followed" in (state.last_error or "")
    assert state.next_attempt_at is not None


async def test_a_refused_connection_is_a_failure_with_the_reason(database: Database) -> None:
    state = await failure(database, f"http://127.0.0.1:{free_port()}/?token=hidden")
    assert (state.last_status, state.last_error) == (None, "the connection was refused")


async def test_a_receiver_that_hangs_up_is_tried_again(database: Database) -> None:
    async def hang_up(_: Request) -> None:
        return None

    async with serve(hang_up) as server:
        state = await failure(database, server.url)
    assert state.next_attempt_at is not None
    assert state.last_error


async def test_the_response_body_is_not_awaited(database: Database) -> None:
    endless = Response(200, b"x" * 100_000, pause=0.5)
    async with serve(endless) as server, sending(database):
        await ended(database, "e", server.url)
        await until(database, "e", lambda s: s.delivered_at)


async def test_a_callback_to_a_blocked_address_is_abandoned_at_once(database: Database) -> None:
    state = await failure(database, "http://10.0.0.1/")
    assert "ssrf_blocked: calls may not go to '10.0.0.1'" in (state.last_error or "")
    assert state.abandoned_at is not None


async def test_a_receiver_that_never_responds_does_not_delay_others(database: Database) -> None:
    async with serve(never) as silent, serve(OK) as server, sending(database, 10.0):
        for i in range(MAX_CONCURRENT_CALLBACKS * 2):
            await ended(database, f"silent{i}", silent.url)
        await asyncio.wait_for(
            count(lambda: len(silent.requests), MAX_CONCURRENT_CALLBACKS_PER_HOST), 10
        )
        for i in range(20):
            await ended(database, f"e{i}", server.url)
        for i in range(20):
            await until(database, f"e{i}", lambda s: s.delivered_at)
        assert len(silent.requests) == MAX_CONCURRENT_CALLBACKS_PER_HOST


@pytest.mark.parametrize("when", ["before it is read", "while it is sent"])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_callback_whose_execution_is_deleted_is_dropped(
    database: Database, tmp_path: Path, when: str, status: int
) -> None:
    def delete(*tables: str) -> None:
        # As a program does that does not enforce foreign keys.
        with closing(sqlite3.connect(tmp_path / "db.sqlite")) as connection, connection:
            for table in tables:
                name = "id" if table == "workflow_executions" else "executionId"
                connection.execute(f"DELETE FROM {table} WHERE {name}='e'")

    async def forget(_request: Request) -> Response:
        delete("orchestrator_callbacks")
        return Response(status)

    async with serve(forget) as server:
        await ended(database, "e", server.url)
        if when == "before it is read":
            delete("workflow_executions")
        with capture_logs() as logs:
            async with sending(database):
                await count(lambda: sum(log["event"] == "callback_dropped" for log in logs), 1)
        assert await callback_of(database, "e") is None
        assert len(server.requests) == (when == "while it is sent")
    assert {log["log_level"] for log in logs} == {"info"}
    delete("workflow_executions", "orchestrator_runs", "orchestrator_events")


async def count(what: Callable[[], int], least: int) -> None:
    while what() < least:
        await asyncio.sleep(0.01)


async def test_unresponsive_receivers_leave_capacity_for_others(
    database: Database,
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(OK))
        opened = [await stack.enter_async_context(serve(never)) for _ in range(6)]
        async with sending(database, 0.4):
            for i, one in enumerate(opened):
                for k in range(30):
                    await ended(database, f"s{i}-{k}", one.url)
            await until(database, "s5-0", lambda s: s.last_error)
            began = asyncio.get_running_loop().time()
            await ended(database, "e", server.url)
            await until(database, "e", lambda s: s.delivered_at)
            assert asyncio.get_running_loop().time() - began < 0.4


async def test_the_time_limit_holds_for_the_whole_attempt(database: Database) -> None:
    async with serve(never) as silent:
        state = await failure(database, silent.url, timeout=0.2)
    assert state.last_error == "no response within 0.2 s"
    assert state.next_attempt_at is not None


async def test_a_service_that_stops_hands_back_what_it_was_sending(
    database: Database, monkeypatch: pytest.MonkeyPatch, clock: MovingClock
) -> None:
    monkeypatch.setattr("flows.callbacks.dispatcher.SHUTDOWN_TIMEOUT_SECONDS", 0.05)
    async with serve(never) as silent:
        await ended(database, "e", silent.url)
        async with sending(database):
            await asyncio.wait_for(count(lambda: len(silent.requests), 1), 10)
    state = await callback_of(database, "e")
    assert state is not None
    assert state.next_attempt_at == "2026-01-01T00:00:00.000Z"
    assert state.last_error == "the service stopped before the response arrived"
    assert await database.callbacks.due_by_host() == {silent.url.removeprefix("http://"): 1}
