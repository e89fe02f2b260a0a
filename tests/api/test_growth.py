"""Growth: the memory and the computation for a node do not depend on the number of nodes."""

import gc
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from flows.execution import deferred_steps
from tests.support.documents import document, line, node
from tests.support.service import RunningService

VALUE_CHARACTERS = 2_000_000
MAX_VALUES_PER_NODE = 0.2
"""Maximum growth of the peak for each node, as a multiple of the value. A line of nodes that add
fields stores each value twice for each node."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Run a service that has imported and prepared everything."""
    with RunningService(tmp_path_factory.mktemp("memory")) as service:
        service.run(line(3), inputs={"value": "x" * VALUE_CHARACTERS})
        yield service


def peak_of(service: RunningService, nodes: int) -> int:
    """Return the peak of the memory that Python allocates for an execution, in bytes."""
    # Different characters, so that no two chunks are equal.
    value = "".join(f"{number:08x}" for number in range(VALUE_CHARACTERS // 8))
    gc.collect()
    tracemalloc.start()
    try:
        done = service.run(line(nodes), inputs={"value": value})
        assert done["status"] == "completed"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_memory_for_a_large_value_does_not_grow_with_the_nodes(
    service: RunningService,
) -> None:
    few, many = peak_of(service, 3), peak_of(service, 23)
    assert many - few < 20 * MAX_VALUES_PER_NODE * VALUE_CHARACTERS


MAX_CALLS_RATIO = 1.15
"""Maximum ratio of the function calls for a further node; the issue allows 1.3 for the time."""
NODE_COUNTS = (20, 120, 220)


class CallCounter:
    """Counts the function calls of the threads that start after ``threading.setprofile``."""

    def __init__(self) -> None:
        self._by_thread = Counter[int]()

    def __call__(self, _frame: FrameType, kind: str, _argument: object) -> None:
        if kind == "call":
            self._by_thread[threading.get_ident()] += 1

    def of(self, name: str) -> int:
        """Return the number of calls in the threads with this name."""
        threads = [thread for thread in threading.enumerate() if thread.name == name]
        return sum(self._by_thread[thread.ident or 0] for thread in threads)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallCounter]:
    """Count calls, and record steps only because of their number, on a machine of any speed."""
    monkeypatch.setattr(deferred_steps, "MAX_STEP_DELAY_SECONDS", 60.0)
    counter = CallCounter()
    threading.setprofile(counter)
    yield counter
    threading.setprofile(None)


def same(count: int) -> list[dict[str, Any]]:
    """Return nodes that do not change the size of the value."""
    adding = {"addFieldName": "same", "addFieldValue": 1}
    added = (node(f"n{i}", "addField", **adding) for i in range(count))
    return [node("start", "trigger"), *added]


def chain(count: int) -> dict[str, Any]:
    ids = ["start", *(f"n{i}" for i in range(count))]
    return document(*same(count), flow=tuple(f"{a} -> {b}" for a, b in pairwise(ids)))


def fan(count: int) -> dict[str, Any]:
    return document(*same(count), flow=tuple(f"start -> n{i}" for i in range(count)))


def test_further_nodes_need_as_many_function_calls(tmp_path: Path, counter: CallCounter) -> None:
    with RunningService(tmp_path, lease_seconds=600, poll_interval_seconds=60) as service:
        for shape in (chain, fan):
            calls: list[int] = []
            for count in (NODE_COUNTS[0], *NODE_COUNTS):
                service.save(shape(count))
                before = counter.of("flows")
                body, waiting = {"workflowId": "w"}, {"Prefer": "wait=60"}
                answer = service.http.post("/api/workflows/execute", json=body, headers=waiting)
                assert answer.json()["status"] == "completed"
                calls.append(counter.of("flows") - before)
            _, few, some, many = calls  # the first execution imports modules
            assert many - some < MAX_CALLS_RATIO * (some - few)
