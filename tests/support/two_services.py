"""Two services on one database, in this process. Each of them polls only when a test requests it.

A service claims what it accepts itself, because a submission wakes its worker. The other service
waits for its poll interval, so that a test decides which worker claims an execution::

    first, second = service_pair
    execution_id = first.start(document)  # the first service runs it
    second.pass_interval()  # the second service polls now
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from api.dependencies import Services
from flows.worker.worker import Worker
from tests.support.calls import NEVER
from tests.support.documents import line
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.service import RunningService


class PairedService(RunningService):
    """A service whose poll interval passes only at ``pass_interval``."""

    def __init__(self, directory: Path, **settings: object) -> None:
        values = {"poll_interval_seconds": NEVER, "database_notifications": False, **settings}
        super().__init__(directory, PROBE_TYPES, **values)

    @property
    def worker(self) -> Worker:
        """The worker of the service."""
        services: Services = self.app.state.services
        return services.worker

    def pass_interval(self) -> None:
        """Let every loop of the service poll once, as at the end of its interval."""
        services: Services = self.app.state.services
        worker = services.worker

        def poll() -> None:
            state = worker._state
            for event in (state.claim_requested, state.poll_requested, state.execution_ended):
                event.set()

        worker._thread.call(poll)
        services.broadcaster._tail._wake()

    def is_running_execution(self, execution_id: str) -> bool:
        """Return whether the worker of this service runs an execution."""
        return execution_id in self.worker._state.active

    def run_marker(self) -> str:
        """Run a small execution in this service, which claims the oldest executions first."""
        response = self.submit(self.save(line(2), "marker"))
        return self.ended(response.json()["executionId"])["executionId"]

    def cpu_seconds(self) -> float:
        """Return the CPU time of the worker's thread."""

        async def measure() -> float:
            return time.thread_time()

        return self.worker.submit(measure).result(20)


ServicePair = tuple[PairedService, PairedService]


@contextmanager
def two_services(directory: Path, **settings: object) -> Iterator[ServicePair]:
    """Run two services on one database. Each of them runs one execution at a time."""
    values = {"max_concurrent_executions": 1, **settings}
    with PairedService(directory, **values) as first, PairedService(directory, **values) as second:
        yield first, second


def at_once(*operations: Callable[[], object]) -> None:
    """Call functions in threads that start at the same time; wait for all of them."""
    barrier = threading.Barrier(len(operations))
    failures: list[BaseException] = []

    def call(operation: Callable[[], object]) -> None:
        barrier.wait()
        try:
            operation()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=call, args=(operation,)) for operation in operations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
