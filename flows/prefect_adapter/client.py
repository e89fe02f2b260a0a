"""Prefect's engines without a Prefect server.

Why: Prefect's default is to start a server of its own, a second process on a port that is ready
after 9 to 15 s, loses runs under load and outlives a SIGKILL of ours. All that the engines need of
a server is a flow run to be created, read and moved from state to state. `EmbeddedPrefectClient`
does that in memory: no server, no child process, no port, about 3 ms for a flow of one task.
Flows, tasks, retries, timeouts, hooks and states are Prefect's own.
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
)
from prefect.client.schemas.responses import (
    OrchestrationResult,
    SetStateStatus,
    StateAcceptDetails,
)
from prefect.states import Pending
from prefect.types import DateTime

from flows.prefect_adapter.environment import EMBEDDED_API_URL

_FLOW_IDS = UUID("8d3f2a8e-6d6b-4a62-9a3c-0f7f4d1f6c55")

_Client = TypeVar("_Client")


class PrefectServerNeededError(RuntimeError):
    """That part of Prefect works only with a Prefect server.

    A ``RuntimeError``, because that is what Prefect's own fallbacks to local defaults catch.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a Prefect server (set PREFECT_API_URL)")


class _RejectingTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """The last line: whatever finds a way around the methods below ends here."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise PrefectServerNeededError(f"{request.method} {request.url.path}")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise PrefectServerNeededError(f"{request.method} {request.url.path}")


def _httpx_settings() -> dict[str, Any]:
    # Without certificates: loading them takes 20 ms. With a transport given, httpx uses no proxy.
    return {"transport": _RejectingTransport(), "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


def _refuse_the_rest(client_type: type[_Client]) -> type[_Client]:
    """Has every API method that ``client_type`` does not define say that it needs a server."""
    for name in dir(client_type):
        method = inspect.getattr_static(client_type, name)
        if name.startswith("_") or name in vars(client_type) or not inspect.isfunction(method):
            continue
        setattr(client_type, name, _refusal(name, method))
    return client_type


def _refusal(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise PrefectServerNeededError(f"Prefect's {name}()")

    async def refuse_later(*_args: object, **_kwargs: object) -> NoReturn:
        refuse()

    later = inspect.iscoroutinefunction(method)
    return functools.wraps(method)(refuse_later if later else refuse)


@_refuse_the_rest
class EmbeddedPrefectClient(PrefectClient):
    """Keeps the flow runs that go on in memory and forgets them when they end.

    It holds no connection, so it serves any event loop: Prefect's own worker threads use it too.
    A flow's own ``retries`` do nothing here: with Prefect they are decided by the server.
    """

    def __init__(self) -> None:
        super().__init__(EMBEDDED_API_URL, httpx_settings=_httpx_settings())
        self._flow_runs: dict[UUID, FlowRun] = {}

    def __len__(self) -> int:
        """How many flow runs it holds."""
        return len(self._flow_runs)

    def __bool__(self) -> bool:
        """Always true; Prefect tests ``if ctx.client``."""
        return True

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:  # pyright: ignore[reportIncompatibleVariableOverride] - Prefect's ``get_client`` compares it with the running loop
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            return None

    @_loop.setter
    def _loop(self, _: object) -> None:
        """Prefect's constructor sets it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close, and Prefect's services enter it as well."""

    async def create_flow_run(  # pyright: ignore[reportIncompatibleMethodOverride] - the rest by keyword
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
        """A new flow run, ``Pending`` or in the given state."""
        if parent_task_run_id is not None:
            raise PrefectServerNeededError("a flow within a flow")
        run_id = uuid4()
        state = state or Pending()
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
        """The flow run, if it still goes on."""
        flow_run = self._flow_runs.get(flow_run_id)
        if flow_run is None:
            raise PrefectServerNeededError(f"to read flow run {flow_run_id}, which is not running,")
        return flow_run

    async def update_flow_run(  # pyright: ignore[reportIncompatibleMethodOverride] - by keyword only
        self, flow_run_id: UUID, **changes: Any
    ) -> httpx.Response:
        """Changes the fields that are given of a flow run that goes on."""
        flow_run = await self.read_flow_run(flow_run_id)
        for field, value in changes.items():
            if value is not None:
                setattr(flow_run, field, value)
        return httpx.Response(204)

    async def set_flow_run_name(self, flow_run_id: UUID, name: str) -> httpx.Response:
        """Renames a flow run that goes on."""
        return await self.update_flow_run(flow_run_id, name=name)

    async def set_flow_run_state(
        self,
        flow_run_id: UUID | str,
        state: State[Any],
        force: bool = False,  # noqa: ARG002, FBT001, FBT002 - Prefect's signature
    ) -> OrchestrationResult[Any]:
        """Accepts every state; after a terminal one the flow run is forgotten."""
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

    async def increment_concurrency_slots_with_lease(  # pyright: ignore[reportIncompatibleMethodOverride] - whatever is asked
        self, *_: object, **__: object
    ) -> httpx.Response:
        """No limits: what Prefect asks for before each task run that has tags."""
        return httpx.Response(200, json={"lease_id": str(uuid4()), "limits": []})

    async def read_server_default_result_storage(self) -> ServerDefaultResultStorage:
        """None, so Prefect takes the local one of its settings."""
        return ServerDefaultResultStorage()

    def forget(self, flow_run_id: UUID) -> None:
        """Drops a flow run that will not go on."""
        self._flow_runs.pop(flow_run_id, None)


@_refuse_the_rest
class EmbeddedSyncPrefectClient(SyncPrefectClient):
    """For synchronous tasks called within a handler; their engine asks it for nothing."""

    def __init__(self) -> None:
        super().__init__(EMBEDDED_API_URL, httpx_settings=_httpx_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def read_server_default_result_storage(self) -> ServerDefaultResultStorage:
        """None, so Prefect takes the local one of its settings."""
        return ServerDefaultResultStorage()
