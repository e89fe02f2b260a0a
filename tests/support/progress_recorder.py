"""Progress recorder: records the progress of one node without a service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flows.nodes.attempts import Attempts
from flows.nodes.isolation import isolated
from flows.nodes.progress import NodeProgress, ProgressReporter
from tasks.context import NodeRun, enter_node_run
from tests.support.virtual_time import run


async def never_retried(attempt: int, error: str) -> None:
    """Ignore retries, because these tests make none."""


class ProgressRecorder:
    """Records the written progress and the published deltas of one node."""

    def __init__(self, attempts_before: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.written: list[tuple[float, int | None, str | None]] = []
        self.published: list[dict[str, Any]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.reports = ProgressReporter("e1", self.publish)
        self.node: NodeProgress = self.reports.of_node("n1", attempts_before, self.record)

    def publish(self, execution_id: str, message: Any) -> None:
        assert execution_id == message["executionId"] == "e1"
        self.published.append({**message, "at": self.loop.time()})

    async def record(
        self, percentage: int | None, message: str | None, is_current: Callable[[], bool]
    ) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        if is_current():
            self.written.append((round(self.loop.time(), 3), percentage, message))

    async def attempt(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Run an attempt like the task of a node."""

        async def node() -> Any:
            enter_node_run(NodeRun(attempts=Attempts(never_retried, progress=self.node)))
            return await isolated(handler)()  # type: ignore[arg-type]

        return await asyncio.create_task(node())

    @property
    def text(self) -> str:
        return "".join(message["delta"] for message in self.published)


def record_attempt(
    handler: Callable[[], Awaitable[Any]], attempts_before: int = 0
) -> ProgressRecorder:
    """Run one attempt and the loop for ten more seconds; return the recorder."""

    async def body() -> ProgressRecorder:
        watcher = ProgressRecorder(attempts_before)
        await watcher.attempt(handler)
        await asyncio.sleep(10)
        await watcher.reports.settle()
        return watcher

    return run(body())
