"""Embedded Prefect client: runs Prefect's engines without a Prefect server.

By default, Prefect starts a server in a second process, which is ready after 9 to 15 s, loses runs
under load, and continues to run after a SIGKILL of the service. The engines only need a server to
create, read and update flow runs. `EmbeddedPrefectClient` does that in memory, without a child
process or a port, in about 3 ms for a flow of one task. Prefect's engines still provide flows,
tasks, retries, timeouts, hooks and states.
"""

import asyncio
import functools
import inspect
import ssl
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar, cast
from uuid import UUID, uuid4, uuid5

import httpx
from prefect import Flow
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import (
    FlowRun,
    FlowRunPolicy,
    ServerDefaultResultStorage,
    State,
    StateType,
)
from prefect.client.schemas.responses import (
    OrchestrationResult,
    SetStateStatus,
    StateAcceptDetails,
)
from prefect.types import DateTime

from flows.prefect_adapter.environment import EMBEDDED_API_URL
from flows.prefect_adapter.states import new_id, new_state

_FLOW_IDS = UUID("8d3f2a8e-6d6b-4a62-9a3c-0f7f4d1f6c55")

_Client = TypeVar("_Client")


class PrefectServerNeededError(RuntimeError):
    """A part of Prefect works only with a Prefect server.

    It is a ``RuntimeError``, because Prefect catches that type and uses local defaults.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a Prefect server (set PREFECT_API_URL)")


class _RejectingTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Rejects every request that the methods below do not handle."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise PrefectServerNeededError(f"{request.method} {request.url.path}")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise PrefectServerNeededError(f"{request.method} {request.url.path}")


def _httpx_settings() -> dict[str, Any]:
    # Without certificates, because loading them takes 20 ms. With a transport, httpx uses no proxy.
    return {"transport": _RejectingTransport(), "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


def _reject_other_methods(client_type: type[_Client]) -> type[_Client]:
    """Replace every API method that ``client_type`` does not define by one that raises an error."""
    for name in dir(client_type):
        method = inspect.getattr_static(client_type, name)
        if name.startswith("_") or name in vars(client_type) or not inspect.isfunction(method):
            continue
        setattr(client_type, name, _rejection(name, method))
    return client_type


def _rejection(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def reject(*_args: object, **_kwargs: object) -> NoReturn:
        raise PrefectServerNeededError(f"Prefect's {name}()")

    async def reject_async(*_args: object, **_kwargs: object) -> NoReturn:
        reject()

    is_async = inspect.iscoroutinefunction(method)
    return functools.wraps(method)(reject_async if is_async else reject)


@_reject_other_methods
class EmbeddedPrefectClient(PrefectClient):
    """Keeps unfinished flow runs in memory and removes them when they end.

    It has no connection, so every event loop can use it, also those of Prefect's worker threads.
    The ``retries`` of a flow have no effect here, because Prefect's server implements them.
    """

    def __init__(self) -> None:
        super().__init__(EMBEDDED_API_URL, httpx_settings=_httpx_settings())
        self._flow_runs: dict[UUID, FlowRun] = {}

    def __len__(self) -> int:
        """Return the number of unfinished flow runs."""
        return len(self._flow_runs)

    def __bool__(self) -> bool:
        """Return true, because Prefect evaluates ``if ctx.client``."""
        return True

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:  # pyright: ignore[reportIncompatibleVariableOverride] - Prefect's ``get_client`` compares it with the running loop
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    @_loop.setter
    def _loop(self, _: object) -> None:
        """Ignore the value that Prefect's constructor sets."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing, because Prefect's services also enter this client."""

    async def create_flow_run(  # pyright: ignore[reportIncompatibleMethodOverride] - other arguments by keyword
        self,
        flow: Flow[..., Any],
        name: str | None = None,
        parameters: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        tags: Any = None,
        parent_task_run_id: UUID | None = None,
        state: State[Any] | None = None,
        **_infrastructure: object,
    ) -> FlowRun:
        """Create a flow run, ``Pending`` or in the given state."""
        if parent_task_run_id is not None:
            raise PrefectServerNeededError("a flow within a flow")
        run_id = new_id()
        state = state or new_state(StateType.PENDING, None, run_id)
        state.state_details.flow_run_id = run_id
        flow_run = FlowRun(
            id=run_id,
            flow_id=uuid5(_FLOW_IDS, flow.name),
            flow_version=flow.version,
            parameters=parameters or {},
            context=context or {},
            tags=list(tags or []),
            empirical_policy=FlowRunPolicy(),
            expected_start_time=cast("DateTime", state.timestamp),
            state=state,
            state_id=state.id,
            state_type=state.type,
            state_name=state.name,
        )
        if name:
            flow_run.name = name
        self._flow_runs[run_id] = flow_run
        return flow_run

    async def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Return an unfinished flow run."""
        flow_run = self._flow_runs.get(flow_run_id)
        if flow_run is None:
            raise PrefectServerNeededError(f"to read flow run {flow_run_id}, which is not running,")
        return flow_run

    async def update_flow_run(  # pyright: ignore[reportIncompatibleMethodOverride] - by keyword only
        self, flow_run_id: UUID, **changes: Any
    ) -> httpx.Response:
        """Set fields of an unfinished flow run."""
        flow_run = await self.read_flow_run(flow_run_id)
        for field, value in changes.items():
            if value is not None:
                setattr(flow_run, field, value)
        return httpx.Response(204)

    async def set_flow_run_name(self, flow_run_id: UUID, name: str) -> httpx.Response:
        """Rename an unfinished flow run."""
        return await self.update_flow_run(flow_run_id, name=name)

    async def set_flow_run_state(
        self,
        flow_run_id: UUID | str,
        state: State[Any],
        force: bool = False,  # noqa: ARG002, FBT001, FBT002 - Prefect's signature
    ) -> OrchestrationResult[Any]:
        """Accept every state; remove the flow run after a final one."""
        run_id = flow_run_id if isinstance(flow_run_id, UUID) else UUID(flow_run_id)
        state.state_details.flow_run_id = run_id
        flow_run = self._flow_runs.get(run_id)
        if flow_run is not None:
            flow_run.state, flow_run.state_id = state, state.id
            flow_run.state_type, flow_run.state_name = state.type, state.name
            if state.is_running():
                flow_run.run_count += 1
                flow_run.start_time = flow_run.start_time or cast("DateTime", state.timestamp)
            if state.is_final():
                del self._flow_runs[run_id]
        return OrchestrationResult(
            status=SetStateStatus.ACCEPT, state=state, details=StateAcceptDetails()
        )

    async def increment_concurrency_slots_with_lease(  # pyright: ignore[reportIncompatibleMethodOverride] - arguments do not matter
        self, *_: object, **__: object
    ) -> httpx.Response:
        """Return no limits; Prefect requests them before each task run with tags."""
        return httpx.Response(200, json={"lease_id": str(uuid4()), "limits": []})

    async def read_server_default_result_storage(self) -> ServerDefaultResultStorage:
        """Return no storage, so that Prefect uses the local one of its settings."""
        return ServerDefaultResultStorage()

    def remove(self, flow_run_id: UUID) -> None:
        """Remove a flow run."""
        self._flow_runs.pop(flow_run_id, None)


@_reject_other_methods
class EmbeddedSyncPrefectClient(SyncPrefectClient):
    """Client of synchronous tasks that a handler calls; their engine sends no requests."""

    def __init__(self) -> None:
        super().__init__(EMBEDDED_API_URL, httpx_settings=_httpx_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close nothing."""

    def read_server_default_result_storage(self) -> ServerDefaultResultStorage:
        """Return no storage, so that Prefect uses the local one of its settings."""
        return ServerDefaultResultStorage()
