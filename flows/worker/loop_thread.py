"""Loop thread: runs an event loop in a thread and accepts work from other threads."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")


class LoopThread:
    """A daemon thread that runs ``main()`` in an event loop, and again if the loop crashes.

    ``main`` calls ``mark_ready`` when the thread can accept work.
    """

    def __init__(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.Context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarts = True

    def start(self) -> Future[None]:
        """Start the thread. The future is done when it accepts work, or has the startup error."""
        self._thread.start()
        return self._ready

    def mark_ready(self) -> None:
        """Accept work from now on; it runs in a copy of the caller's context."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        if not self._ready.done():
            self._ready.set_result(None)

    @property
    def accepts_work(self) -> bool:
        """Whether the thread is alive and was started without an error."""
        return self._thread.is_alive() and self._ready.done() and not self._ready.exception()

    @property
    def has_ended(self) -> bool:
        """Whether the thread was started and is not alive."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the loop, without waiting; drop the call if no loop runs."""
        if self.accepts_work and self._loop is not None:
            with suppress(RuntimeError):  # The loop is closed, and the next one polls at its start.
                self._loop.call_soon_threadsafe(function)

    def submit(self, coroutine: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine in the loop, in a copy of its context; return its future result.

        Raises:
            RuntimeError: If no loop runs.
        """
        if self._loop is None:
            raise RuntimeError("the thread does not accept work yet")
        loop, future = self._loop, Future[T]()
        future.set_running_or_notify_cancel()  # The coroutine continues if its caller is cancelled.

        async def run() -> None:
            try:
                future.set_result(await coroutine())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                future.set_exception(error)

        def create_task() -> None:
            task = loop.create_task(run(), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(create_task)
        return future

    def submitted_tasks(self) -> set[asyncio.Task[None]]:
        """Return the unfinished tasks of ``submit``, without the current one."""
        return self._tasks - {asyncio.current_task()}

    def disable_restart(self) -> None:
        """Let the thread end with its current loop."""
        self._restarts = False

    async def join(self, timeout_seconds: float) -> bool:
        """Wait for the end of the thread; return whether it ended in time."""
        await asyncio.to_thread(self._thread.join, timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                asyncio.run(self._main())
            except BaseException as error:
                if not self._ready.done():
                    self._ready.set_exception(error)
                    return
                log.critical("worker_crashed", exc_info=True)
            if not self._restarts:
                return
            self._tasks.clear()
