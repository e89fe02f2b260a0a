"""The WebSocket: one connection, on which a client follows as many executions as it likes."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketState

from api.auth.middleware import Authenticator, Caller
from api.auth.tenancy import TenantScope
from api.dependencies import Services
from api.schemas.base import RequestModel, suggestion
from api.schemas.executions import Name
from api.streaming.broadcaster import EventBroadcaster
from api.streaming.expiry import has_expired, until
from database import Database
from database.queries.results import SubscriptionFilter
from engine.errors import WorkflowServiceError
from engine.json_values import load_json
from engine.problems import MAX_PROBLEMS

MAX_SUBSCRIPTIONS = 100
WS_SERVICE_RESTART = 1012
"""The close code with which a client may connect again at once: the service restarts."""
WS_UNAUTHORIZED = 4401
"""The close code for who did not say so in time, or said it wrong, or whose token has expired."""
INVALID_CREDENTIAL_MESSAGE = "there is no such key, or the token is wrong or has expired"
AUTHENTICATION_REQUIRED_MESSAGE = "the first message should be an 'auth', and come soon"
TOKEN_EXPIRED_MESSAGE = "the token has expired"  # noqa: S105 - a message
AUTH_TIMEOUT_SECONDS = 10.0
"""How long a client has for its first message, where keys are set and it has shown none yet."""
MAX_POSITION = 2**63 - 1
CLOSE_GRACE_SECONDS = 0.5
"""Time for a client to subscribe after ``auth``, before it is sent the events of everything."""
_EVERYTHING = (None, None)
"""The subscription of a client that has authenticated and not subscribed yet."""

router = APIRouter()


class Subscribe(RequestModel):
    """Follow an execution, or all of an organization."""

    type: Literal["subscribe"]
    execution_id: Name | None = None
    organization_id: Name | None = None
    after_seq: int | None = Field(default=None, ge=0, le=MAX_POSITION)


class Unsubscribe(RequestModel):
    """Follow it no longer."""

    type: Literal["unsubscribe"]
    execution_id: Name | None = None
    organization_id: Name | None = None


class Auth(RequestModel):
    """Says who one is, where keys are set."""

    type: Literal["auth"]
    token: str


class Ping(RequestModel):
    """Asks for a sign of life."""

    type: Literal["ping"]


_Command = Subscribe | Unsubscribe | Auth | Ping
_COMMAND: TypeAdapter[_Command] = TypeAdapter(Annotated[_Command, Field(discriminator="type")])
_KINDS = ("subscribe", "unsubscribe", "auth", "ping")
_MIN_LIKENESS = 0.6


@router.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    """Tells a client what happens in the executions that it subscribes to."""
    services: Services = socket.app.state.services
    await socket.accept()
    caller: Caller | None = socket.scope["caller"]
    if caller is None and socket.scope["shown"]:
        await socket.close(WS_UNAUTHORIZED, INVALID_CREDENTIAL_MESSAGE)
        return
    conversation = _WebSocketSession(
        socket, services.hub, services.database, services.access, caller
    )
    await conversation.run()


@dataclass(slots=True)
class _WebSocketSession:
    """One connection. Each subscription is a task; they share the socket."""

    socket: WebSocket
    hub: EventBroadcaster
    database: Database
    access: Authenticator
    caller: Caller | None
    """``None`` until the client has said who it is."""
    _subscriptions: dict[tuple[str | None, str | None], asyncio.Task[None]] = field(
        default_factory=dict[tuple[str | None, str | None], asyncio.Task[None]]
    )
    _has_subscribed: bool = False
    """Whether the client chose what to follow; before that it gets all that it may access."""
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        try:
            async with asyncio.timeout(
                AUTH_TIMEOUT_SECONDS if self.caller is None else None
            ) as patience:
                while True:
                    received = await self.socket.receive()
                    if received["type"] == "websocket.disconnect":
                        return
                    await self._obey(received.get("text"))
                    if self.caller is None:
                        await self._send_away(AUTHENTICATION_REQUIRED_MESSAGE)
                        return
                    patience.reschedule(None)
        except TimeoutError:
            await self._send_away(AUTHENTICATION_REQUIRED_MESSAGE)
        except (WebSocketDisconnect, OSError, RuntimeError):
            return  # the client is gone, in the middle of an answer
        finally:
            tasks = list(self._subscriptions.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _obey(self, text: str | None) -> None:
        try:
            sent = load_json(text) if text is not None else None
        except ValueError:
            sent = None
        if not isinstance(sent, dict):
            await self._say({"type": "error", "detail": "a message should be a JSON object"})
            return
        try:
            command = _COMMAND.validate_python(sent)
        except ValidationError as error:
            kind = sent.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - any JSON
            await self._say({"type": "error", "detail": _why(str(kind), error)})  # pyright: ignore[reportUnknownArgumentType]
            return
        if isinstance(command, Auth):
            await self._welcome(command)
        elif self.caller is None or self._has_expired():
            await self._send_away(
                AUTHENTICATION_REQUIRED_MESSAGE if self.caller is None else TOKEN_EXPIRED_MESSAGE
            )
        elif isinstance(command, Subscribe):
            await self._subscribe(command, TenantScope(self.caller, self.database.queries))
        elif isinstance(command, Unsubscribe):
            await self._unsubscribe(command)
        else:
            await self._say({"type": "pong"})

    async def _welcome(self, auth: Auth) -> None:
        """Lets a client in, or renews its stay; where the service is open everybody is welcome.

        A client that then only waits, as the editor's does, gets the events of all executions that
        it may access, until it subscribes to something.
        """
        before = self.caller
        if not self.access.open:
            self.caller = self.access.caller_of(auth.token.encode(errors="replace"))
        if self.caller is None:
            await self._send_away(INVALID_CREDENTIAL_MESSAGE)
            return
        if before is not None and _scope_of(before) != _scope_of(self.caller):
            for key in list(self._subscriptions):
                await self._stop(key)
        await self._say({"type": "authenticated"})
        if not self._has_subscribed and _EVERYTHING not in self._subscriptions:
            token = self.caller.execution_id
            ids = None if token is None else frozenset({token})
            interest = SubscriptionFilter(ids, self.caller.organization_id)
            self._follow(_EVERYTHING, interest, None, CLOSE_GRACE_SECONDS)

    def _has_expired(self) -> bool:
        return has_expired(self.caller, self.database.clock)

    async def _send_away(self, reason: str) -> None:
        self.caller = None
        if self.socket.application_state == WebSocketState.CONNECTED:
            with suppress(WebSocketDisconnect, OSError, RuntimeError):  # the client is gone
                await self.socket.close(WS_UNAUTHORIZED, reason)

    async def _subscribe(self, command: Subscribe, scope: TenantScope) -> None:
        about = _about(command)
        if (command.execution_id is None) == (command.organization_id is None):
            detail = "subscribe should name either an executionId or an organizationId"
            await self._say({"type": "error", "detail": detail, **about})
            return
        key = (command.execution_id, command.organization_id)
        chosen = self._subscriptions.keys() - {_EVERYTHING}
        if len(chosen) >= MAX_SUBSCRIPTIONS and key not in chosen:
            detail = f"a connection may have {MAX_SUBSCRIPTIONS} subscriptions"
            await self._say({"type": "error", "detail": detail, **about})
            return
        try:
            if command.execution_id is not None:
                await scope.see_execution(command.execution_id)
            else:
                scope.organization(command.organization_id)
            after = await self._position(command)
        except WorkflowServiceError as error:
            await self._say({"type": "error", "detail": str(error), **about})
            return
        self._has_subscribed = True
        await self._stop(_EVERYTHING)
        await self._stop(key)
        await self._say({"type": "subscribed", **about})
        ids = None if command.execution_id is None else frozenset({command.execution_id})
        self._follow(key, SubscriptionFilter(ids, command.organization_id), after)

    def _follow(
        self,
        key: tuple[str | None, str | None],
        interest: SubscriptionFilter,
        after: int | None,
        grace_seconds: float = 0,
    ) -> None:
        task = asyncio.create_task(self._tell(interest, after, grace_seconds))
        self._subscriptions[key] = task
        task.add_done_callback(lambda ended: self._forget(key, ended))

    def _forget(self, key: tuple[str | None, str | None], ended: asyncio.Task[None]) -> None:
        if self._subscriptions.get(key) is ended:
            del self._subscriptions[key]

    async def _position(self, command: Subscribe) -> int | None:
        """From where on the client wants to know. Of an organization the number is a position."""
        if command.execution_id is not None:
            known = await self.hub.resume_at(command.execution_id, command.after_seq or 0)
            return None if command.after_seq is None else known
        if command.after_seq is None or command.after_seq > await self.hub.position():
            return None
        return command.after_seq

    async def _unsubscribe(self, command: Unsubscribe) -> None:
        self._has_subscribed = True
        await self._stop((command.execution_id, command.organization_id))
        await self._say({"type": "unsubscribed", **_about(command)})

    async def _stop(self, key: tuple[str | None, str | None]) -> None:
        task = self._subscriptions.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _tell(
        self, interest: SubscriptionFilter, after: int | None, grace_seconds: float = 0
    ) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time() + grace_seconds
        followed = until(self._has_expired, self.hub.follow(interest, after))
        with suppress(WebSocketDisconnect, OSError, RuntimeError):  # the client is gone
            async with aclosing(followed) as messages:
                async for message in messages:
                    # The hub keeps what comes in the meantime, so that nothing is lost.
                    if (early := begin - loop.time()) > 0:
                        await asyncio.sleep(early)
                    if message is not None:
                        await self._send(message.text)
            if self.hub.closing and self.socket.application_state == WebSocketState.CONNECTED:
                await self.socket.close(WS_SERVICE_RESTART)
            elif self._has_expired():
                await self._send_away(TOKEN_EXPIRED_MESSAGE)

    async def _say(self, message: Mapping[str, Any]) -> None:
        await self._send(json.dumps(message))

    async def _send(self, text: str) -> None:
        async with self._sending:
            await self.socket.send_text(text)


def _scope_of(caller: Caller) -> tuple[str | None, str | None]:
    return caller.organization_id, caller.execution_id


def _about(command: Subscribe | Unsubscribe) -> dict[str, str]:
    """What a command names, for the answer to it."""
    named = {"executionId": command.execution_id, "organizationId": command.organization_id}
    return {key: value for key, value in named.items() if value is not None}


def _why(kind: str, error: ValidationError) -> str:
    if kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        nearest = suggestion(kind, _KINDS, _MIN_LIKENESS)
        end = f"; {nearest}" if "did you mean" in nearest else ""
        return f"the type of a message should be one of {kinds}{end}"
    mine = error.errors(include_url=False)[:MAX_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in mine)
