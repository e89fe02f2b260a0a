"""Limits of several services: they hold while services are killed, and nothing waits forever."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.postgres import Storage, on_both
from tests.support.service import wait_until

EXECUTIONS, KILLS = 6, 3
PER_WORKFLOW, PER_TYPE = 4, 3
LEASE_SECONDS = 2.0
END_SECONDS = 120.0
Handler = tuple[str, str, str]
"""Process, execution and node."""
Change = tuple[int, int, Handler]
"""Time, 1 for a start and -1 for an end, and the handler."""


def changes_of(file: Path, kills: dict[str, int]) -> list[Change]:
    """Return the starts and ends, which the handlers have written themselves.

    A killed process ends its handlers: ``kills`` has the times by process.
    """
    changes: list[Change] = []
    open_: Counter[Handler] = Counter()
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        kind, at, process, execution, name = line.split()
        change, handler = 1 if kind == "start" else -1, (process, execution, name)
        changes.append((int(at), change, handler))
        open_[handler] += change
    killed = [handler for handler in open_.elements() if handler[0] in kills]
    return sorted([*changes, *((kills[handler[0]], -1, handler) for handler in killed)])


def running(file: Path, kills: dict[str, int]) -> list[Handler]:
    """Return the handlers that run now."""
    open_: Counter[Handler] = Counter()
    for _, change, handler in changes_of(file, kills):
        open_[handler] += change
    return list(open_.elements())


def most_at_once(changes: list[Change], group: Callable[[Handler], str | None]) -> int:
    """Return how many groups of handlers ran at the same time, at most."""
    counts: Counter[str] = Counter()
    most = 0
    for _, change, handler in changes:
        if (name := group(handler)) is not None:
            counts[name] += change
            most = max(most, len(+counts))
    return most


@pytest.mark.timeout(END_SECONDS + 120)
@on_both()
def test_limits_hold_while_services_are_killed(tmp_path: Path, storage: Storage) -> None:
    settings = {
        "max_concurrent_nodes_per_type": f"span={PER_TYPE}",
        "max_concurrent_executions": 2,  # so that executions park that wait for a permit
        "max_recovery_attempts": 100,
        "lease_seconds": LEASE_SECONDS,
        **storage,
    }
    file, go, kills = tmp_path / "spans", tmp_path / "go", dict[str, int]()
    config = {"file": str(file), "waitsFor": str(go)}
    work = document(
        node("start", "trigger"),
        node("left", "span", **config),
        node("right", "span", **config),
        node("last", "span", concurrencyKey="tool", **config),
        flow=("start -> left", "start -> right", "left -> last", "right -> last"),
    ) | {"settings": {"maxConcurrentExecutions": PER_WORKFLOW}}
    first, second = (ServiceProcess(tmp_path, **settings) for _ in range(2))
    with first, second:
        first.run_process()
        second.run_process()
        workflow_id = first.save(work)
        submitted = [
            first.submit(workflow_id, inputs={"n": n}).json()["executionId"]
            for n in range(EXECUTIONS)
        ]
        for _ in range(KILLS):
            # All permits are used again, although the killed process returned none.
            wait_until(lambda: len(running(file, kills)) == PER_TYPE)
            process = running(file, kills)[0][0]
            service = first if process == str(first.process.pid) else second
            assert process == str(service.process.pid)
            kills[process] = time.time_ns()
            service.kill()
            service.run_process()
        go.touch()
        ended = first.wait_ended(*submitted, seconds=END_SECONDS)
        assert ended == ["completed"] * EXECUTIONS
        assert first.violations() == []
        wait_until(lambda: first.rows("SELECT name FROM orchestrator_permits") == [])
    changes = changes_of(file, kills)
    assert running(file, kills) == []
    assert most_at_once(changes, "/".join) == PER_TYPE
    assert 1 < most_at_once(changes, lambda handler: handler[1]) <= PER_WORKFLOW
    last = most_at_once(changes, lambda h: "/".join(h) if h[2] == "last" else None)
    assert last == 1
