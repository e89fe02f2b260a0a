"""Runs one node's handler as a Prefect task run of the flow run around it.

Retries, delays, timeouts, hooks and the run's name are Prefect's. Added to it:

- a ``NodeError`` may say that another attempt is of no use, or when it may be made at the earliest;
- the caller hears of each attempt that failed and will be made again;
- a pause of more than a few seconds before the next attempt ends the task run, see
  ``flows.nodes.retry_policy``: the caller parks the node and starts another task run later;
- a handler can end its attempt and nothing else, see ``flows.nodes.isolation``;
- a handler that is no coroutine function runs in a thread of its own. Prefect would run it in the
  event loop, or, in a thread, could not end it at its timeout. Here the attempt ends on time in any
  case; a thread that does not come back is left behind (Python cannot end it) and its result
  dropped. It is a daemon, so it does not keep the interpreter from exiting.
"""

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import TaskRunNameCallbackWithParameters
from prefect.utilities.annotations import NotSet, quote

from engine.errors import NodeError, describe
from engine.json_encoding import size_within
from flows.nodes.handler_errors import log_handler_error
from flows.nodes.isolation import isolated
from flows.nodes.result import redact_error
from flows.nodes.retry_policy import (
    MAX_PAUSE_SECONDS,
    MIN_PARKED_PAUSE_SECONDS,
    RetryParkedError,
    delay_after,
    remaining_delays,
    requested_pause,
)
from flows.prefect_adapter.runs import require_prefect_context
from offload import MAX_INLINE_BYTES, run_off_loop, use_stop_event
from tasks.templating.filters import start_read_budget

OnRetry: TypeAlias = Callable[[int, str], Awaitable[None]]
"""Is told the number of the attempt that failed, from 1, and its error, before the next one."""

Prepare: TypeAlias = Callable[[], Awaitable[None]]
"""Has at hand what an attempt needs; where it raises, the attempt has failed."""

AnyTask: TypeAlias = Task[Any, Any]
Check: TypeAlias = Callable[[object], Any]
"""Makes a node's result of what its handler returned, or refuses it by raising."""

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""Maximum pause that another side may ask for before the next attempt, in seconds, by default."""

_VARIANTS_KEPT = 512
_NAME_LENGTH = 200


def _unchecked(result: object) -> object:
    return result


async def _unprepared() -> None:
    """Nothing is needed."""


@dataclass(slots=True)
class _AttemptCounter:
    """What the attempts and the retry condition, which Prefect calls, share with `run_handler`."""

    on_retry: OnRetry
    prepare: Prepare
    failed: int
    """The attempts that failed in earlier task runs."""
    max_retry_after_seconds: float
    counted: bool = False
    """Whether the task run's ``run_count`` contains those."""
    refusal: Exception | None = None
    """What ``on_retry`` raised: Prefect would log it and drop it."""
    parked: RetryParkedError | None = None
    """Set if the next attempt is one for another task run."""

    def count(self) -> None:
        """Add the attempts of earlier task runs to the count that handlers and conditions read."""
        context = TaskRunContext.get()
        if context is not None and not self.counted:
            self.counted = True
            context.task_run.run_count += self.failed


_attempts: ContextVar[_AttemptCounter | None] = ContextVar("attempts", default=None)


async def run_handler(  # noqa: PLR0913 - by keyword, each an option of the node
    task: AnyTask,
    node: dict[str, Any],
    input_data: object,
    *,
    retries: int | None,
    delays: Sequence[float],
    timeout_seconds: float | None,
    on_retry: OnRetry,
    check: Check = _unchecked,
    prepare: Prepare = _unprepared,
    failed: int = 0,
    max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS,
) -> Any:
    """Runs ``task(node, input_data)`` to the end of its last attempt and returns its result.

    Works within a flow run, and without one for a node that is tried out alone.

    Args:
        task: the handler; it takes the two values by position, whatever it calls them.
        node: the node as JSON has it.
        input_data: the node's input; it is handed over as it is, not copied.
        retries: how often to try again; ``None`` keeps the retries and delays the task declares.
        delays: seconds before each retry, the last one repeated; at most 50.
        timeout_seconds: for each attempt; ``None`` keeps what the task declares.
        on_retry: if it raises, no attempt follows, and what it raised is raised.
        check: makes the result of what the handler returned; where it raises, the attempt failed.
        prepare: is called before each attempt, within its time limit.
        failed: the attempts that failed before this call; they count as retries that were made.
        max_retry_after_seconds: the maximum pause that the other side may ask for.

    Raises:
        RetryParkedError: If an attempt failed and the next one is to be made after a long pause.
        NodeError: timed out, or the handler exited or cancelled itself.
        asyncio.CancelledError: the surrounding task was cancelled.
        Exception: what the last attempt raised.
    """
    require_prefect_context()
    if task.isgenerator:
        raise NodeError(f"handler '{task.name}' is a generator; it must return", retryable=False)
    if failed:
        made = task.retries if retries is None else retries
        delays = remaining_delays(task.retry_delay_seconds if retries is None else delays, failed)
        retries = max(0, made - failed)
    variant = _variant(task, retries, tuple(delays), timeout_seconds, check)
    attempts = _AttemptCounter(on_retry, prepare, failed, max_retry_after_seconds)
    token = _attempts.set(attempts)
    try:
        # ``quote``: Prefect does not search the values for futures, 1.5 s for an input of 5 MB.
        result = await variant(quote(node), quote(input_data))
    except Exception as error:
        if attempts.refusal is not None:
            raise attempts.refusal from error
        if attempts.parked is not None:
            raise attempts.parked from error
        if isinstance(error, TaskRunTimeoutError):
            raise NodeError(_message(error, variant)) from None
        raise
    else:
        return result
    finally:
        _attempts.reset(token)


@functools.lru_cache(maxsize=_VARIANTS_KEPT)
def _variant(
    task: AnyTask,
    retries: int | None,
    delays: tuple[float, ...],
    timeout_seconds: float | None,
    check: Check,
) -> AnyTask:
    """``task`` with these options. Kept, because ``with_options`` costs 1.1 ms."""
    variant = task.with_options(
        cache_policy=NO_CACHE,
        persist_result=False,
        task_run_name=cast("TaskRunNameCallbackWithParameters", _run_name),
        retries=NotSet if retries is None else retries,
        retry_delay_seconds=NotSet if retries is None else list(delays),
        retry_condition_fn=_retry_condition(task.retry_condition_fn),
        timeout_seconds=timeout_seconds,
    )
    variant.on_failure_hooks = [_unless_parked(hook) for hook in variant.on_failure_hooks]
    # A storage block lives on a server, and nothing is stored.
    variant.result_storage = None
    if not variant.isasync:
        # Prefect's asynchronous engine drives it: it can end an attempt, and waits on no thread.
        variant.fn = _in_thread(variant.fn)
        variant.isasync = True
    variant.fn = isolated(_checked(variant.fn, check))
    return variant


def _checked(function: Callable[..., Any], check: Check) -> Callable[..., Coroutine[Any, Any, Any]]:
    """``function``, whose result is what ``check`` makes of it: a refused one fails the attempt.

    Its errors go to Prefect and to the journal, and so without secrets.
    """

    @functools.wraps(function)
    async def run(*args: object, **kwargs: object) -> Any:
        try:
            attempts = _attempts.get()
            if attempts is not None:
                attempts.count()
                await attempts.prepare()
            start_read_budget()
            result: object = await function(*args, **kwargs)
            if isinstance(result, State):
                result = await cast("State[Any]", result).aresult()
            if size_within(result, MAX_INLINE_BYTES) is None:
                return await run_off_loop(check, result)
            return check(result)
        except Exception as error:
            log_handler_error(error, args[0] if args else None, __file__)
            told = redact_error(error)
            if told is error:
                raise
        except BaseException as error:
            log_handler_error(error, args[0] if args else None, __file__)
            raise
        # Outside, so that the error with the secret in it is not the other's context.
        raise told

    return run


def _run_name(parameters: dict[str, Any]) -> str:
    """``label (id)`` of the node, which is the handler's first parameter, whatever its name."""
    for value in parameters.values():
        if isinstance(value, dict):
            node = cast("dict[str, Any]", value)
            label = node.get("label") or node.get("type") or "node"
            return f"{str(label)[:_NAME_LENGTH]} ({node.get('id')})"
    return "node"


def _retry_condition(own: Callable[..., Any] | None) -> Callable[..., Awaitable[bool]]:
    """Decides about another attempt; ``own`` is the condition that the task declares.

    Prefect awaits it outside of the attempt's timeout, and only while retries are left.
    """

    async def should_retry(task: AnyTask, task_run: TaskRun, state: State[Any]) -> bool:
        error: object = state.data
        if isinstance(error, NodeError) and not error.retryable:
            return False
        if own is not None:
            verdict = own(task, task_run, state)
            if not (await verdict if inspect.isawaitable(verdict) else verdict):
                return False
        attempts = _attempts.get()
        if attempts is None:
            return True
        message = _message(error, task) if isinstance(error, Exception) else state.message
        number = task_run.run_count - (attempts.failed if attempts.counted else 0)
        declared, jitter = task.retry_delay_seconds, task.retry_jitter_factor
        requested, remark = requested_pause(error, attempts.max_retry_after_seconds)
        reason = (message or "failed") + remark
        pause = max(delay_after(declared, number, jitter), requested)
        if pause > MIN_PARKED_PAUSE_SECONDS:
            attempts.parked = RetryParkedError(number, min(pause, MAX_PAUSE_SECONDS), reason)
            return False
        try:
            await attempts.on_retry(number, reason)
        except Exception as refusal:  # noqa: BLE001 - raised again by ``run_handler``
            attempts.refusal = refusal
            return False
        # Prefect waits for the declared delay, or for less of it where there is jitter.
        least = delay_after(declared, number, None) * max(0.0, 1.0 - (jitter or 0.0))
        await asyncio.sleep(max(0.0, requested - least))
        return True

    return should_retry


def _unless_parked(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``hook`` for the failure of a node, not of an attempt that another one follows."""

    @functools.wraps(hook)
    def run(*args: object) -> object:
        attempts = _attempts.get()
        return None if attempts is not None and attempts.parked is not None else hook(*args)

    return run


def _message(error: Exception, task: AnyTask) -> str:
    if isinstance(error, TaskRunTimeoutError):
        return f"timed out after {task.timeout_seconds:g} s"
    return describe(error)


def _in_thread(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, object]]:
    @functools.wraps(function)
    async def run(*args: object, **kwargs: object) -> object:
        result = await _call_in_thread(functools.partial(function, *args, **kwargs))
        return await result if inspect.isawaitable(result) else result

    return run


async def _call_in_thread(call: Callable[[], Any]) -> Any:
    """Awaits ``call()`` in a new thread that sees the caller's context variables.

    A pool's threads are joined when the interpreter exits, so one stuck call would hold it up.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = copy_context()
    stop = threading.Event()
    context.run(use_stop_event, stop)

    def deliver(result: object, error: BaseException | None) -> None:
        if future.done():  # The attempt was given up.
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):  # A future cannot hold it.
            future.set_exception(RuntimeError(f"the handler raised {error!r}"))
        else:
            future.set_exception(error)

    def work() -> None:
        result: object = None
        failure: BaseException | None = None
        try:
            result = context.run(call)
        except BaseException as error:  # noqa: BLE001 - the awaiting side decides
            failure = error
        with suppress(RuntimeError):  # The loop is closed: nobody waits.
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=work, name="node-handler", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        stop.set()
        raise
