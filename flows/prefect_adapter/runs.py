"""Flow runs on Prefect's engines, embedded or with a Prefect server; the same for both.

With the address of a Prefect server these functions use Prefect's own client, and its UI shows
every run; without one they use `EmbeddedPrefectClient`.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import anyio
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import (
    FlowRun,
    State,
)
from prefect.context import AsyncClientContext, SettingsContext, SyncClientContext
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, Pause
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import run_flow_async
from prefect.settings import Profile, Settings
from prefect.settings.models.flows import FlowsSettings
from prefect.states import Crashed, Pending

from flows.prefect_adapter.client import EmbeddedPrefectClient, EmbeddedSyncPrefectClient
from flows.prefect_adapter.environment import EMBEDDED_API_URL, is_embedded

_EVENTS_DRAIN_TIMEOUT_SECONDS = 5.0
_CLEANUP_TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def prefect_context(api_url: str | None) -> AsyncGenerator[PrefectClient, None]:
    """Everything Prefect's engines look for, for all flows of this event loop.

    Enter it once, in the thread and loop of the flows, after `prepare_prefect` with the same
    ``api_url``; start the flows' tasks inside it, or with a copy of its ``contextvars`` context.
    The loop should not be the main thread's: there Prefect takes over SIGTERM while a flow runs.

    Yields:
        the client for `run_flow`.

    Raises:
        RuntimeError: `prepare_prefect` was not called, or with another ``api_url``.
    """
    embedded = is_embedded(api_url)
    # A heartbeat is a thread for each flow run, and tells nobody anything without a server.
    settings = Settings(flows=FlowsSettings(heartbeat_frequency=None)) if embedded else Settings()
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
        if embedded:
            override = EventsWorker._client_override  # pyright: ignore[reportPrivateUsage] - there is no getter
            stack.callback(setattr, EventsWorker, "_client_override", override)
            EventsWorker.set_client_override(NullEventsClient)
            sync_context = SyncClientContext.model_construct(client=EmbeddedSyncPrefectClient())
            context = AsyncClientContext.model_construct(client=EmbeddedPrefectClient())
            await stack.enter_async_context(context)
        else:
            sync_context = SyncClientContext()
            context = await stack.enter_async_context(AsyncClientContext.get_or_create())
        stack.enter_context(sync_context)
        # Started here, because it keeps the context it is started in: else a flow run's.
        EventsWorker.instance()
        yield context.client


async def _drain_events() -> None:
    """Lets Prefect's worker threads send what they have, for a few seconds."""
    waiting = EventsWorker.drain_all(timeout=_EVENTS_DRAIN_TIMEOUT_SECONDS, at_exit=False)
    if inspect.isawaitable(waiting):
        await waiting


def require_prefect_context() -> None:
    """Raises ``RuntimeError`` outside of `prefect_context`: Prefect would look for a server."""
    context = AsyncClientContext.get()
    if context is None or context.client.loop is not asyncio.get_running_loop():
        raise RuntimeError("this must run inside prefect_context(), in its event loop")


def local_result_storage(flow: Flow[..., Any], home: Path) -> None:
    """Has ``flow`` and its tasks not ask a server where results go. They are not kept anyway.

    The decorator's own ``result_storage`` takes only what a server has saved before.
    """
    flow.result_storage = _LocalResultStorage(basepath=str(home.resolve() / "results"))


class _LocalResultStorage(LocalFileSystem):
    """Prefect's own, spared the disk: 6 % of an execution's time.

    Prefect asks twice for the path of every result, kept or not, and resolves it each time.
    """

    _block_type_slug = "workflow-service-results"  # else it would take its parent's place

    def _resolve_path(self, path: str) -> Path:
        if path and path.isalnum():  # as Prefect names results: there is nothing to resolve
            return Path(f"{self.basepath}/{path}")
        return super()._resolve_path(path)


async def run_flow(
    flow: Flow[..., Any],
    execution_id: str,
    name: str,
    client: PrefectClient,
    on_created: Callable[[str], Awaitable[None]] | None = None,
) -> State[Any]:
    """Runs ``flow(execution_id=…)`` as a flow run called ``name`` and returns its last state.

    A flow that fails does not raise; neither does Prefect's engine when the server refuses a state
    or is gone: the state is then ``Crashed``. The journal says what the execution came to.

    Args:
        flow: the flow; it takes ``execution_id`` alone, for its parameters go to the server.
        execution_id: what it is called with.
        name: the flow run's name.
        client: what `prefect_context` gave.
        on_created: is told the flow run's id before the flow starts; if it raises, the flow does
            not start.

    Raises:
        asyncio.CancelledError: the surrounding task was cancelled, and the flow did not handle it.
        Exception: the flow run could not be created (a Prefect server that is not there), or
            ``on_created`` raised.
    """
    require_prefect_context()
    parameters = {"execution_id": execution_id}
    flow_run = await client.create_flow_run(flow, name=name, parameters=parameters, state=Pending())
    try:
        try:
            if on_created is not None:
                await on_created(str(flow_run.id))
        except BaseException:
            await _abandon(client, flow_run.id)
            raise
        return await _drive(flow, flow_run, parameters)
    finally:
        if isinstance(client, EmbeddedPrefectClient):
            client.forget(flow_run.id)


async def _drive(flow: Flow[..., Any], flow_run: FlowRun, parameters: dict[str, Any]) -> State[Any]:
    try:
        state: object = await run_flow_async(
            flow, flow_run=flow_run, parameters=parameters, return_type="state"
        )
    except (Abort, Pause) as signal:  # Not ``Exception``: they would end the thread's loop.
        return Crashed(message=f"Prefect's server ended the flow run: {signal}")
    except Exception as error:  # noqa: BLE001 - whatever the client raises when the server is gone
        return Crashed(message=f"Prefect's engine failed: {error!r}", data=error)
    if not isinstance(state, State):
        raise TypeError(f"Prefect returned no state but {type(state).__name__}")
    return cast("State[Any]", state)


async def _abandon(client: PrefectClient, flow_run_id: UUID) -> None:
    """Has a flow run that never starts not stay ``Pending`` on a server for ever."""
    with (
        anyio.move_on_after(_CLEANUP_TIMEOUT_SECONDS, shield=True),
        suppress(Exception),
    ):
        state = Crashed(message="The execution was not started.", timestamp=datetime.now(UTC))
        await client.set_flow_run_state(flow_run_id, state, force=True)


async def crash_flow_run(client: PrefectClient, flow_run_id: str) -> None:
    """Marks a flow run whose process died ``Crashed``: on a server it would be running for ever.

    A server that is not there is no reason to stop: the journal says how the execution goes.
    """
    with suppress(Exception):
        flow_run = await client.read_flow_run(UUID(flow_run_id))
        if flow_run.state is None or not flow_run.state.is_final():
            state = Crashed(message="The process that ran it died; another goes on with it")
            await client.set_flow_run_state(flow_run.id, state, force=True)
