"""Commits: changes in this process and in other ones that a worker acts on at once."""

import asyncio
from collections.abc import Set
from contextlib import suppress

from database import Database
from database.connection.commit_signal import Change
from flows.worker.state import WorkerState


async def follow_commits(
    database: Database, state: WorkerState, *, is_shared: bool, is_limited: bool = False
) -> None:
    """Claim, and poll for signals, when a commit requires it, until this is cancelled.

    With ``is_limited``, and while an execution waits for others of its workflow, the end of an
    execution may allow another one to start.
    With ``is_shared``, this includes the commits of other processes, if the database notifies them.
    """
    loop = asyncio.get_running_loop()
    queue, dispatches = database.queue, database.dispatches

    def may_claim(changes: Set[Change]) -> bool:
        if Change.QUEUE in changes:
            return True
        is_held_back = is_limited or queue.holds_back or dispatches.holds_back
        return Change.SLOTS in changes and is_held_back

    def on_commit(changes: Set[Change]) -> None:  # called in the thread that committed
        if may_claim(changes) and not state.claim_requested.is_set():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(state.claim_requested.set)

    def on_other_commit(changes: Set[Change]) -> None:
        # Requests in this process reach their execution directly.
        if Change.REQUESTS in changes:
            state.poll_requested.set()

    disconnect = database.commit_signal.connect(on_commit)
    try:
        if is_shared:
            await database.follow_other_processes(on_other_commit)
        await asyncio.Event().wait()
    finally:
        disconnect()
