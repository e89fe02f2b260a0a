"""Memory: a large value that many nodes pass on does not exist once for each node."""

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.support.documents import line
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
