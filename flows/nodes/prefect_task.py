"""Prefect task: runs the handler of one node as a Prefect task run of the current flow run.

Prefect provides retries, delays, timeouts, hooks and the name of the run. This module adds:

- a ``NodeError`` can disable retries or set the earliest time of the next attempt;
- the caller is notified of each failed attempt that another one follows;
- a pause of more than a few seconds before the next attempt ends the task run, see
  ``flows.nodes.retry_policy``: the caller parks the node and starts another task run later;
- a handler can end its attempt, but not the event loop, see ``flows.nodes.isolation``;
- a synchronous handler runs in a new thread. Prefect would run it in the event loop, or in a thread
  without a timeout. Here the attempt always ends on time. The result of a thread that is still
  running is dropped, because Python cannot end a thread. It is a daemon thread, so that it does not
  delay the exit of the interpreter.
"""

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeAlias, cast

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import TaskRunNameCallbackWithParameters
from prefect.utilities.annotations import NotSet

from engine.errors import NodeError, PermanentError, describe
from engine.json_encoding import size_within
from flows.nodes.attempts import AttemptPolicy, Attempts, current_attempts
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
from flows.prefect_adapter.task_calls import AnyTask, TaskCall
from offload import MAX_INLINE_BYTES, run_off_loop, use_stop_event
from tasks.context import current_node_run, within_node_run
from tasks.templating.filters import start_read_budget

Check: TypeAlias = Callable[[object], Any]
"""Converts the return value of a handler to the node's result, or raises an exception."""

_VARIANT_CACHE_SIZE = 512
_MAX_NAME_LENGTH = 200


def _unchecked(result: object) -> object:
    return result


async def run_handler(
    task: AnyTask,
    node: dict[str, Any],
    input_data: object,
    policy: AttemptPolicy,
    attempts: Attempts,
    check: Check = _unchecked,
) -> Any:
    """Run all attempts of ``task(node, input_data)``; return the result of the successful one.

    It works inside a flow run, and without one for a preview. ``node`` is in its JSON format;
    ``input_data`` is passed without a copy. ``check`` converts the return value of the handler; if
    it raises an exception, the attempt failed.

    Raises:
        RetryParkedError: If an attempt failed and the next one must be made after a long pause.
        NodeError: If the handler timed out, exited or cancelled itself.
        asyncio.CancelledError: If the surrounding task was cancelled.
        Exception: If the last attempt failed.
    """
    require_prefect_context()
    if task.isgenerator:
        raise PermanentError(f"handler '{task.name}' is a generator; it must return")
    if attempts.failed:
        policy = _remaining(policy, task, attempts.failed)
    call = _variant(task, policy, check)
    try:
        with within_node_run(replace(current_node_run(), attempts=attempts)):
            return await call(node, input_data)
    except Exception as error:
        if attempts.retry_error is not None:
            raise attempts.retry_error from error
        if attempts.parked is not None:
            raise attempts.parked from error
        if isinstance(error, TaskRunTimeoutError):
            raise NodeError(_message(error, call.task)) from None
        raise


def _remaining(policy: AttemptPolicy, task: AnyTask, failed: int) -> AttemptPolicy:
    """Return the policy that is left after ``failed`` attempts of earlier task runs."""
    declared = policy.retries is None
    retries = task.retries if policy.retries is None else policy.retries
    delays = remaining_delays(task.retry_delay_seconds if declared else policy.delays, failed)
    return replace(policy, retries=max(0, retries - failed), delays=tuple(delays))


@functools.lru_cache(maxsize=_VARIANT_CACHE_SIZE)
def _variant(task: AnyTask, policy: AttemptPolicy, check: Check) -> TaskCall:
    """Return calls of ``task`` with these options. Cached: ``with_options`` takes 1.1 ms."""
    retries = NotSet if policy.retries is None else policy.retries
    variant = task.with_options(
        cache_policy=NO_CACHE,
        persist_result=False,
        task_run_name=cast("TaskRunNameCallbackWithParameters", _run_name),
        retries=retries,
        retry_delay_seconds=NotSet if policy.retries is None else list(policy.delays),
        retry_condition_fn=_retry_condition(task.retry_condition_fn),
        timeout_seconds=policy.timeout_seconds,
    )
    variant.on_failure_hooks = [_unless_parked(hook) for hook in variant.on_failure_hooks]
    # Without a storage block, because only a server can provide one, and no result is stored.
    variant.result_storage = None
    if not variant.isasync:
        # Run by Prefect's asynchronous engine, because it can end an attempt.
        variant.fn = _in_thread(variant.fn)
        variant.isasync = True
    variant.fn = isolated(_checked(variant.fn, check))
    return TaskCall(variant, _run_name)


def _checked(function: Callable[..., Any], check: Check) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return ``function`` with the preparation before it and ``check`` after it.

    Its errors contain no secrets, because Prefect and the journal store them.
    """

    @functools.wraps(function)
    async def run(*args: object, **kwargs: object) -> Any:
        try:
            attempts = current_attempts()
            if attempts is not None:
                attempts.count_earlier()
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
            redacted = redact_error(error)
            if redacted is error:
                raise
        except BaseException as error:
            log_handler_error(error, args[0] if args else None, __file__)
            raise
        # Outside the handler, so that the error with the secret is not the context of this one.
        raise redacted

    return run


def _run_name(parameters: dict[str, Any]) -> str:
    """Return ``label (id)`` of the node, which is the first parameter of the handler."""
    for value in parameters.values():
        if isinstance(value, dict):
            node = cast("dict[str, Any]", value)
            label = node.get("label") or node.get("type") or "node"
            return f"{str(label)[:_MAX_NAME_LENGTH]} ({node.get('id')})"
    return "node"


def _retry_condition(declared: Callable[..., Any] | None) -> Callable[..., Awaitable[bool]]:
    """Return the condition for another attempt; ``declared`` is the condition of the task.

    Prefect awaits it outside the attempt's timeout, and only while retries are left.
    """

    async def should_retry(task: AnyTask, task_run: TaskRun, state: State[Any]) -> bool:
        error: object = state.data
        if isinstance(error, NodeError) and not error.retryable:
            return False
        if declared is not None:
            allowed = declared(task, task_run, state)
            if not (await allowed if inspect.isawaitable(allowed) else allowed):
                return False
        attempts = current_attempts()
        if attempts is None:
            return True
        message = _message(error, task) if isinstance(error, Exception) else state.message
        number = task_run.run_count - (attempts.failed if attempts.counted else 0)
        delays, jitter = task.retry_delay_seconds, task.retry_jitter_factor
        requested, remark = requested_pause(error, attempts.max_retry_after_seconds)
        reason = (message or "failed") + remark
        pause = max(delay_after(delays, number, jitter), requested)
        if pause > MIN_PARKED_PAUSE_SECONDS:
            attempts.parked = RetryParkedError(number, min(pause, MAX_PAUSE_SECONDS), reason)
            return False
        try:
            await attempts.on_retry(number, reason)
        except Exception as error:  # noqa: BLE001 - raised again by ``run_handler``
            attempts.retry_error = error
            return False
        # Prefect waits for the declared delay, or for a part of it if the task has a jitter.
        min_delay = delay_after(delays, number, None) * max(0.0, 1.0 - (jitter or 0.0))
        await asyncio.sleep(max(0.0, requested - min_delay))
        return True

    return should_retry


def _unless_parked(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``hook`` for a failed node; it is not called before another attempt."""

    @functools.wraps(hook)
    def run(*args: object) -> object:
        attempts = current_attempts()
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
    """Return the result of ``call()`` in a new thread with the caller's context variables.

    The interpreter joins the threads of a pool at its exit, so one blocked call would delay it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = copy_context()
    stop = threading.Event()
    context.run(use_stop_event, stop)

    def deliver(result: object, error: BaseException | None) -> None:
        if future.done():  # The attempt timed out or was cancelled.
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):  # A future cannot contain it.
            future.set_exception(RuntimeError(f"the handler raised {error!r}"))
        else:
            future.set_exception(error)

    def work() -> None:
        result: object = None
        failure: BaseException | None = None
        try:
            result = context.run(call)
        except BaseException as error:  # noqa: BLE001 - raised again in the awaiting task
            failure = error
        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=work, name="node-handler", daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        stop.set()
        raise
