"""Starts the real service for crash tests: ``python -m tests.support.launcher``.

It adds faulty node types, moves the clock by ``CLOCK_SHIFT_SECONDS``, disables the heartbeat if
``NO_HEARTBEAT`` is set, and starts a non-daemon thread if ``LEAVE_THREAD`` is set. It enters the
network namespace that ``NETWORK_NAMESPACE`` names, and kills the process at the point of
``KILL_AT``:

- ``after_claim``: executions are claimed, and none has started;
- ``after_start:NODE``: the node is recorded as running, its handler has not been called;
- ``before_record:NODE``: its handler has returned, and its result is not recorded;
- ``within_record:NODE``: its end is written, in a transaction that is not committed;
- ``after_record:NODE``: its end is committed, and no client has read it;
- ``within_final_write``: the end of the execution is written, but not committed;
- ``after_final_write``: the end of the execution is committed;
- ``before_callback``: a callback is claimed, and no request is sent;
- ``after_callback``: the receiver has responded, and the response is not recorded;
- ``after_event``: an event is accepted, its sender has no response, and no node has continued;
- ``after_reminder``: a reminder of a task is stored, and its callback is not sent.
"""

import asyncio
import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from config import load_settings
from flows.prefect_adapter.environment import prepare_prefect
from tests.support.network_namespace import enter_namespace


def die(*_: object) -> None:
    """Kill this process, like a power failure."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Prepare the process and start the service."""
    if namespace := os.environ.get("NETWORK_NAMESPACE"):
        enter_namespace(namespace)
    settings = load_settings()
    prepare_prefect(settings.prefect_api_url, settings.prefect_home)
    add_node_types()
    shift_clock(float(os.environ.get("CLOCK_SHIFT_SECONDS", "0")))
    if os.environ.get("NO_HEARTBEAT"):
        stop_heartbeat()
    point, _, node_id = os.environ.get("KILL_AT", "").partition(":")
    if point:
        KILL_POINTS[point](node_id)
    if os.environ.get("LEAVE_THREAD"):
        threading.Thread(target=time.sleep, args=(3_600,)).start()
        atexit.register(print, "exit functions have run", flush=True)

    import start_service  # noqa: PLC0415 - it must come after prepare_prefect

    return start_service.main()


def shift_clock(seconds: float) -> None:
    """Set the clock of the service forward."""
    import worker_setup  # noqa: PLC0415 - see ``main``

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    if seconds:
        worker_setup.Database = partial(worker_setup.Database, clock=clock)  # type: ignore[misc]


def stop_heartbeat() -> None:
    """Renew no leases but report success, so that the worker detects a loss only when it writes."""
    from database.executions.queue import Queue  # noqa: PLC0415 - see ``main``

    async def renew(
        self: Queue, owner: str, execution_ids: Sequence[str], lease_seconds: float
    ) -> set[str]:
        return set(execution_ids)

    Queue.renew = renew


async def wait_for_file(node: dict[str, Any]) -> None:
    """Wait until the file ``waitsFor`` of the config exists, so that a test sets the time."""
    path = node["config"].get("waitsFor")
    while path and not Path(path).exists():  # noqa: ASYNC240 - a local file, in a test
        await asyncio.sleep(0.01)


def add_node_types() -> None:
    """Add faulty node types."""
    from prefect import task  # noqa: PLC0415 - see ``main``

    from tasks.node_handlers import NODE_HANDLERS  # noqa: PLC0415

    @task(name="kill")
    async def kill(node: dict[str, Any], input_data: object) -> dict[str, Any]:
        await wait_for_file(node)
        die()
        return {}

    @task(name="exit")
    async def exit_(node: dict[str, Any], input_data: object) -> dict[str, Any]:
        await wait_for_file(node)
        os._exit(3)

    @task(name="stubborn")
    async def stubborn(node: dict[str, Any], input_data: object) -> dict[str, Any]:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    @task(name="blocking")
    def blocking(node: dict[str, Any], input_data: object) -> dict[str, Any]:
        time.sleep(3_600)  # like a library without asyncio
        return {}

    @task(name="span")
    async def span(node: dict[str, Any], input_data: Any) -> dict[str, Any]:
        with Path(node["config"]["file"]).open("a") as file:  # noqa: ASYNC230 - one line
            # Each line is written by one call, so that lines of several processes do not mix.
            name = f"{os.getpid()} {input_data['n']} {node['id']}"
            file.write(f"start {time.time_ns()} {name}\n")
            file.flush()
            end = "cancelled"
            try:
                await wait_for_file(node)
                end = "end"
            finally:
                file.write(f"{end} {time.time_ns()} {name}\n")
        return {"success": True, "outputData": input_data}

    NODE_HANDLERS.update(kill=kill, exit=exit_, stubborn=stubborn, blocking=blocking, span=span)


# Kill points


def _around(
    owner: Any,
    name: str,
    matches: Callable[[dict[str, Any], Any], bool],
    *,
    before: bool = False,
) -> None:
    """Kill the process before or after an asynchronous method if ``matches`` returns true."""
    original = getattr(owner, name)

    async def method(*args: Any, **kwargs: Any) -> Any:
        if before and matches(kwargs, None):
            die()
        result = await original(*args, **kwargs)
        if not before and matches(kwargs, result):
            die()
        return result

    setattr(owner, name, method)


def _names(node_id: str, rows: Iterable[Any]) -> bool:
    return any(getattr(row, "node_id", None) == node_id for row in rows)


def _after_claim(_: str) -> None:
    from database.executions.queue import Queue  # noqa: PLC0415 - see ``main``

    _around(Queue, "claim", lambda _, claimed: bool(claimed))


def _after_start(node_id: str) -> None:
    from database.executions.journal import Journal  # noqa: PLC0415 - see ``main``

    def matches(kwargs: dict[str, Any], _: object) -> bool:
        return any(start.node.id == node_id for start in kwargs["changes"].started)

    _around(Journal, "record_step", matches)


def _record(node_id: str, *, before: bool) -> None:
    from database.executions.journal import Journal  # noqa: PLC0415 - see ``main``

    def matches(kwargs: dict[str, Any], _: object) -> bool:
        return _names(node_id, kwargs["changes"].ended)

    for name in ("record_step", "finish"):
        _around(Journal, name, matches, before=before)


def _within_record(node_id: str) -> None:
    from database.executions import journal  # noqa: PLC0415 - see ``main``

    original = journal.write_node_runs

    def write_node_runs(connection: Any, lease: Any, seq: int, steps: Any) -> None:
        original(connection, lease, seq, steps)
        if any(_names(node_id, step.changes.ended) for step in steps):
            die()

    journal.write_node_runs = write_node_runs


def _within_final_write(_: str) -> None:
    from database.executions import journal  # noqa: PLC0415 - see ``main``

    original = journal.end_execution

    def end_execution(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        die()

    journal.end_execution = end_execution


def _after_final_write(_: str) -> None:
    from database.executions.journal import Journal  # noqa: PLC0415 - see ``main``

    _around(Journal, "finish", lambda *_: True)


def _before_callback(_: str) -> None:
    from database.executions.callbacks import Callbacks  # noqa: PLC0415 - see ``main``

    _around(Callbacks, "claim", lambda _, delivery: delivery is not None)


def _after_callback(_: str) -> None:
    from database.executions.callbacks import Callbacks  # noqa: PLC0415 - see ``main``

    for name in ("record_delivery", "record_failure"):
        _around(Callbacks, name, lambda *_: True, before=True)


def _after_event(_: str) -> None:
    from database.external_events.store import ExternalEvents  # noqa: PLC0415 - see ``main``

    _around(ExternalEvents, "accept", lambda *_: True)


def _after_reminder(_: str) -> None:
    from database.human_tasks.timers import TaskTimers  # noqa: PLC0415 - see ``main``

    _around(TaskTimers, "run_due", lambda _, count: count > 0)


KILL_POINTS: dict[str, Callable[[str], None]] = {
    "after_claim": _after_claim,
    "after_start": _after_start,
    "before_record": partial(_record, before=True),
    "within_record": _within_record,
    "after_record": partial(_record, before=False),
    "within_final_write": _within_final_write,
    "after_final_write": _after_final_write,
    "before_callback": _before_callback,
    "after_callback": _after_callback,
    "after_event": _after_event,
    "after_reminder": _after_reminder,
}


if __name__ == "__main__":
    import start_service

    start_service.exit_process(main)
