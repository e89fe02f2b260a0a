"""WebSocket: one connection on which a client subscribes to executions and organizations."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from api.auth.callers import Authenticator, Caller
from api.auth.tenancy import TenantScope
from api.dependencies import Services
from api.streaming.broadcaster import EventBroadcaster
from api.streaming.commands import Auth, Subscribe, Unsubscribe, parse_command
from api.streaming.expiry import has_expired, take_until
from database import Database
from database.queries.results import SubscriptionFilter
from engine.errors import WorkflowServiceError

MAX_SUBSCRIPTIONS = 100
"""Maximum number of subscriptions of one connection."""
WS_SERVICE_RESTART = 1012
"""Close code at shutdown: the client can reconnect immediately."""
WS_UNAUTHORIZED = 4401
"""Close code if the credential is missing, late or invalid, or the token has expired."""
INVALID_CREDENTIAL_MESSAGE = "the API key is unknown, or the token is invalid or has expired"
AUTHENTICATION_REQUIRED_MESSAGE = "the first message should be an 'auth', sent within 10 seconds"
TOKEN_EXPIRED_MESSAGE = "the token has expired"  # noqa: S105 - a message
AUTH_TIMEOUT_SECONDS = 10.0
"""Timeout for the first message of a client that has not authenticated."""
SUBSCRIBE_GRACE_SECONDS = 0.5
"""Time for a client to subscribe after ``auth``, before it receives the events of everything."""
_EVERYTHING = (None, None)
"""Key of the subscription of a client that has authenticated and not subscribed yet."""

_Key = tuple[str | None, str | None]
"""Execution id and organization id of a subscription."""

router = APIRouter()


@router.websocket("/ws")
async def websocket_endpoint(socket: WebSocket) -> None:
    """Stream the events of the executions to which the client subscribes."""
    services: Services = socket.app.state.services
    await socket.accept()
    caller: Caller | None = socket.scope["caller"]
    if caller is None and socket.scope["has_credential"]:
        await socket.close(WS_UNAUTHORIZED, INVALID_CREDENTIAL_MESSAGE)
        return
    session = WebSocketSession(
        socket, services.broadcaster, services.database, services.authenticator, caller
    )
    await session.run()


@dataclass(slots=True)
class WebSocketSession:
    """One connection. Each subscription is a task; a lock serializes what they send."""

    socket: WebSocket
    broadcaster: EventBroadcaster
    database: Database
    authenticator: Authenticator
    caller: Caller | None
    """``None`` until the client has authenticated."""
    _subscriptions: dict[_Key, asyncio.Task[None]] = field(
        default_factory=dict[_Key, asyncio.Task[None]]
    )
    _has_subscribed: bool = False
    """Whether the client has sent a ``subscribe``; until then it receives all its events."""
    _send_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Handle the client's messages until it disconnects or has to authenticate."""
        try:
            async with asyncio.timeout(
                AUTH_TIMEOUT_SECONDS if self.caller is None else None
            ) as auth_timeout:
                while True:
                    received = await self.socket.receive()
                    if received["type"] == "websocket.disconnect":
                        return
                    await self._handle_message(received.get("text"))
                    if self.caller is None:
                        await self._close_unauthorized(AUTHENTICATION_REQUIRED_MESSAGE)
                        return
                    auth_timeout.reschedule(None)
        except TimeoutError:
            await self._close_unauthorized(AUTHENTICATION_REQUIRED_MESSAGE)
        except (WebSocketDisconnect, OSError, RuntimeError):
            return  # the client has disconnected
        finally:
            tasks = list(self._subscriptions.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle_message(self, text: str | None) -> None:
        try:
            command = parse_command(text)
        except ValueError as error:
            await self._reply({"type": "error", "detail": str(error)})
            return
        if isinstance(command, Auth):
            await self._authenticate(command)
        elif self.caller is None:
            await self._close_unauthorized(AUTHENTICATION_REQUIRED_MESSAGE)
        elif self._has_expired():
            await self._close_unauthorized(TOKEN_EXPIRED_MESSAGE)
        elif isinstance(command, Subscribe):
            await self._subscribe(command, TenantScope(self.caller, self.database.queries))
        elif isinstance(command, Unsubscribe):
            await self._unsubscribe(command)
        else:
            await self._reply({"type": "pong"})

    async def _authenticate(self, auth: Auth) -> None:
        """Set or replace the caller. If no keys are set, every token is accepted.

        A client that only waits after ``auth``, as the editor does, receives the events of all
        executions that it can access, until it subscribes.
        """
        previous = self.caller
        if not self.authenticator.is_open:
            self.caller = self.authenticator.authenticate(auth.token.encode(errors="replace"))
        if self.caller is None:
            await self._close_unauthorized(INVALID_CREDENTIAL_MESSAGE)
            return
        if previous is not None and _access_of(previous) != _access_of(self.caller):
            for key in list(self._subscriptions):
                await self._stop(key)
        await self._reply({"type": "authenticated"})
        if not self._has_subscribed and _EVERYTHING not in self._subscriptions:
            token_id = self.caller.execution_id
            ids = None if token_id is None else frozenset({token_id})
            selection = SubscriptionFilter(ids, self.caller.organization_id)
            self._start(_EVERYTHING, selection, None, SUBSCRIBE_GRACE_SECONDS)

    def _has_expired(self) -> bool:
        return has_expired(self.caller, self.database.clock)

    async def _close_unauthorized(self, reason: str) -> None:
        self.caller = None
        if self.socket.application_state == WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, OSError, RuntimeError):  # the client is gone
                await self.socket.close(WS_UNAUTHORIZED, reason)

    async def _subscribe(self, command: Subscribe, scope: TenantScope) -> None:
        ids = _ids_of(command)
        if (command.execution_id is None) == (command.organization_id is None):
            detail = "subscribe should name either an executionId or an organizationId"
            await self._reply({"type": "error", "detail": detail, **ids})
            return
        key = (command.execution_id, command.organization_id)
        existing = self._subscriptions.keys() - {_EVERYTHING}
        if len(existing) >= MAX_SUBSCRIPTIONS and key not in existing:
            detail = f"a connection may have {MAX_SUBSCRIPTIONS} subscriptions"
            await self._reply({"type": "error", "detail": detail, **ids})
            return
        try:
            if command.execution_id is not None:
                await scope.require_execution(command.execution_id)
            else:
                scope.organization(command.organization_id)
            after = await self._position(command)
        except WorkflowServiceError as error:
            await self._reply({"type": "error", "detail": str(error), **ids})
            return
        self._has_subscribed = True
        await self._stop(_EVERYTHING)
        await self._stop(key)
        await self._reply({"type": "subscribed", **ids})
        execution_ids = None if command.execution_id is None else frozenset({command.execution_id})
        self._start(key, SubscriptionFilter(execution_ids, command.organization_id), after)

    def _start(
        self, key: _Key, selection: SubscriptionFilter, after: int | None, delay_seconds: float = 0
    ) -> None:
        """Start the task of a subscription, which ends by itself after the last message."""

        def remove(ended: asyncio.Task[None]) -> None:
            if self._subscriptions.get(key) is ended:
                del self._subscriptions[key]

        task = asyncio.create_task(self._stream(selection, after, delay_seconds))
        self._subscriptions[key] = task
        task.add_done_callback(remove)

    async def _position(self, command: Subscribe) -> int | None:
        """Return the position after which events are sent; ``None`` for the current state first.

        ``afterSeq`` is a sequence number of an execution, or a position for an organization.
        """
        if command.execution_id is not None:
            # Called even without ``afterSeq``, because it raises if the execution does not exist.
            position = await self.database.event_feed.position_after(
                command.execution_id, command.after_seq or 0
            )
            return None if command.after_seq is None else position
        if command.after_seq is None:
            return None
        last = await self.database.event_feed.last_position()
        return command.after_seq if command.after_seq <= last else None

    async def _unsubscribe(self, command: Unsubscribe) -> None:
        self._has_subscribed = True
        await self._stop((command.execution_id, command.organization_id))
        await self._reply({"type": "unsubscribed", **_ids_of(command)})

    async def _stop(self, key: _Key) -> None:
        task = self._subscriptions.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stream(
        self, selection: SubscriptionFilter, after: int | None, delay_seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time() + delay_seconds
        events = take_until(self._has_expired, self.broadcaster.subscribe(selection, after))
        with suppress(WebSocketDisconnect, OSError, RuntimeError):  # the client is gone
            async with aclosing(events) as messages:
                async for message in messages:
                    # The broadcaster queues the messages of the delay, so that none is lost.
                    if (remaining := begin - loop.time()) > 0:
                        await asyncio.sleep(remaining)
                    if message is not None:
                        await self._send(message.text)
            if (
                self.broadcaster.closing
                and self.socket.application_state == WebSocketState.CONNECTED
            ):
                await self.socket.close(WS_SERVICE_RESTART)
            elif self._has_expired():
                await self._close_unauthorized(TOKEN_EXPIRED_MESSAGE)

    async def _reply(self, message: Mapping[str, Any]) -> None:
        await self._send(json.dumps(message))

    async def _send(self, text: str) -> None:
        async with self._send_lock:
            await self.socket.send_text(text)


def _access_of(caller: Caller) -> tuple[str | None, str | None]:
    return caller.organization_id, caller.execution_id


def _ids_of(command: Subscribe | Unsubscribe) -> dict[str, str]:
    """Return the ids of a command, which the reply repeats."""
    ids = {"executionId": command.execution_id, "organizationId": command.organization_id}
    return {name: value for name, value in ids.items() if value is not None}
