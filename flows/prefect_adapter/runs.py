"""Flow runs: runs flows on Prefect's engines, embedded or with a Prefect server.

With the URL of a Prefect server, these functions use Prefect's client, and its UI shows every run.
Without one, they use `EmbeddedPrefectClient`.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import AsyncClientContext, SettingsContext, SyncClientContext
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, Pause
from prefect.filesystems import LocalFileSystem
from prefect.settings import Profile, get_current_settings
from prefect.states import Crashed

from flows.prefect_adapter.client import EmbeddedPrefectClient, EmbeddedSyncPrefectClient
from flows.prefect_adapter.environment import EMBEDDED_API_URL, is_embedded
from flows.prefect_adapter.flow_engine import drive_flow_run
from flows.prefect_adapter.states import new_state

T = TypeVar("T")

_EVENTS_DRAIN_TIMEOUT_SECONDS = 5.0
"""Timeout for Prefect's worker threads to send their events."""

_CLEANUP_TIMEOUT_SECONDS = 5.0
"""Timeout for a request that ends a flow run on a server."""


@asynccontextmanager
async def prefect_context(api_url: str | None) -> AsyncGenerator[PrefectClient, None]:
    """Set the context that Prefect's engines use for all flows of this event loop.

    Enter it once, in the thread and loop of the flows, after `prepare_prefect` with the same
    ``api_url``. Start the tasks of the flows inside it, or in a copy of its ``contextvars``
    context. Use another thread than the main thread, because there Prefect replaces the SIGTERM
    handler while a flow runs.

    Yields:
        the client, which `run_flow` finds in the context.

    Raises:
        RuntimeError: If `prepare_prefect` was not called with the same ``api_url``.
    """
    embedded = is_embedded(api_url)
    # A copy of those that `prepare_prefect` made Prefect read, because reading them takes 100 ms.
    settings = get_current_settings()
    if embedded:
        # Without heartbeats, because each is a thread that only informs a server.
        flows = settings.flows.model_copy(update={"heartbeat_frequency": None})
        settings = settings.model_copy(update={"flows": flows})
    expected = EMBEDDED_API_URL if embedded else str(api_url).rstrip("/")
    if settings.api.url != expected:
        raise RuntimeError("prepare_prefect() must be called first, with the same api_url")
    async with AsyncExitStack() as stack:
        stack.enter_context(
            SettingsContext(
                profile=Profile(name="workflow-service", settings={}), settings=settings
            )
        )
        stack.push_async_callback(_drain_events)
        # For the whole process, and not restored: contexts of several threads end in any order.
        EventsWorker.set_client_override(NullEventsClient if embedded else None)
        if embedded:
            sync_context = SyncClientContext.model_construct(client=EmbeddedSyncPrefectClient())
            context = AsyncClientContext.model_construct(client=EmbeddedPrefectClient())
            await stack.enter_async_context(context)
        else:
            sync_context = SyncClientContext()
            context = await stack.enter_async_context(AsyncClientContext.get_or_create())
        stack.enter_context(sync_context)
        # Started here, because it keeps the context of its start, which must not be a flow run's.
        EventsWorker.instance()
        yield context.client


async def _drain_events() -> None:
    """Wait until Prefect's worker threads have sent their events, up to the timeout."""
    pending = EventsWorker.drain_all(timeout=_EVENTS_DRAIN_TIMEOUT_SECONDS, at_exit=False)
    if inspect.isawaitable(pending):
        await pending


def require_prefect_context() -> PrefectClient:
    """Return the client of `prefect_context`.

    Raises:
        RuntimeError: If the caller is outside of it, because Prefect would start a server then.
    """
    context = AsyncClientContext.get()
    if context is None or context.client.loop is not asyncio.get_running_loop():
        raise RuntimeError("this must run inside prefect_context(), in its event loop")
    return context.client


def is_tracked() -> bool:
    """Return whether flow runs of the current `prefect_context` exist on a Prefect server."""
    return not isinstance(require_prefect_context(), EmbeddedPrefectClient)


def local_result_storage(flow: Flow[..., Any], home: Path) -> None:
    """Set a local result storage, so that ``flow`` requests none from a server.

    Results are not stored. The decorator's ``result_storage`` accepts only blocks that a server
    has saved.
    """
    flow.result_storage = _LocalResultStorage(basepath=str(home.resolve() / "results"))


class _LocalResultStorage(LocalFileSystem):
    """Prefect's local storage without disk access, which took 6 % of the time of an execution.

    Prefect computes the path of every result twice and resolves it each time.
    """

    _block_type_slug = "workflow-service-results"  # so that it does not replace its parent class

    def _resolve_path(self, path: str) -> Path:
        if path and path.isalnum():  # the format of Prefect's result names needs no resolution
            return Path(f"{self.basepath}/{path}")
        return super()._resolve_path(path)


_argument: ContextVar[object] = ContextVar("flow_argument", default=None)


def set_flow_argument(argument: object) -> None:
    """Set the object that `flow_argument` returns in flows which the current task starts."""
    _argument.set(argument)


def flow_argument(kind: type[T]) -> T:
    """Return the ``argument`` of the current flow run.

    Raises:
        TypeError: If it is not of type ``kind``.
    """
    argument = _argument.get()
    if not isinstance(argument, kind):
        raise TypeError(f"the flow run has no argument of type {kind.__name__}")
    return argument


async def run_flow(
    flow: Flow[..., Any],
    execution_id: str,
    name: str,
    on_created: Callable[[str], Awaitable[None]] | None = None,
    argument: object = None,
) -> State[Any]:
    """Run ``flow(execution_id=…)`` as a flow run called ``name``; return its final state.

    A failed flow raises no exception, and neither does an unavailable Prefect server: the state is
    ``Crashed`` then. The journal contains the result of the execution.

    Args:
        flow: the flow; ``execution_id`` is its only parameter, because a server stores them.
        execution_id: the argument of the flow.
        name: the name of the flow run.
        on_created: called with the id of the flow run before the flow starts; if it raises an
            exception, the flow does not start.
        argument: an object in memory, which `flow_argument` returns in the flow.

    Raises:
        asyncio.CancelledError: If the surrounding task was cancelled, and the flow did not return.
        Exception: If the flow run could not be created, or ``on_created`` raised it.
    """
    client = require_prefect_context()
    parameters = {"execution_id": execution_id}
    flow_run = await client.create_flow_run(
        flow, name=name, parameters=parameters, state=new_state(StateType.PENDING, None, None)
    )
    try:
        return await run_created_flow(flow, flow_run, on_created, argument)
    finally:
        if isinstance(client, EmbeddedPrefectClient):
            client.remove(flow_run.id)


async def run_created_flow(
    flow: Flow[..., Any],
    flow_run: FlowRun,
    on_created: Callable[[str], Awaitable[None]] | None = None,
    argument: object = None,
) -> State[Any]:
    """Run ``flow`` with the parameters of a flow run that exists; see `run_flow`."""
    client = require_prefect_context()
    try:
        if on_created is not None:
            await on_created(str(flow_run.id))
    except BaseException:
        await _abandon(client, flow_run.id)
        raise
    set_flow_argument(argument)
    return await _drive(flow, flow_run, flow_run.parameters, client)


async def _drive(
    flow: Flow[..., Any], flow_run: FlowRun, parameters: dict[str, Any], client: PrefectClient
) -> State[Any]:
    try:
        state = await drive_flow_run(flow, flow_run, parameters, client)
    except (
        Abort,
        Pause,
    ) as signal:  # They do not derive from ``Exception``.
        return Crashed(message=f"Prefect's server ended the flow run: {signal}")
    except Exception as error:  # noqa: BLE001 - the client raises many types without a server
        return Crashed(message=f"Prefect's engine failed: {error!r}", data=error)
    if not isinstance(state, State):
        raise TypeError(f"Prefect returned {type(state).__name__} instead of a state")
    return cast("State[Any]", state)


async def _abandon(client: PrefectClient, flow_run_id: UUID) -> None:
    """Set a flow run that never starts to ``Crashed``, so that it is not pending forever."""
    with (
        anyio.move_on_after(_CLEANUP_TIMEOUT_SECONDS, shield=True),
        suppress(Exception),
    ):
        state = Crashed(message="The execution was not started.", timestamp=datetime.now(UTC))
        await client.set_flow_run_state(flow_run_id, state, force=True)


async def crash_flow_run(flow_run_id: str) -> None:
    """Set the flow run of a crashed process to ``Crashed``, because a server keeps it running.

    Errors of the server are ignored, because the journal contains the state of the execution.
    """
    client = require_prefect_context()
    with suppress(Exception):
        flow_run = await client.read_flow_run(UUID(flow_run_id))
        if flow_run.state is None or not flow_run.state.is_final():
            state = Crashed(
                message="The process of this flow run crashed; another one continues the execution"
            )
            await client.set_flow_run_state(flow_run.id, state, force=True)
