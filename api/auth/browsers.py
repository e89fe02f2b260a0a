"""Browser protection: rejects requests of foreign pages and hosts, and handles CORS.

A page of another origin can send requests to a service on the user's machine, and a page whose name
resolves to this machine (DNS rebinding) even reads the responses. Webhooks are exempt, because they
have their own secrets and accept requests from every origin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.origins import (
    Authority,
    Hosts,
    Origins,
    is_own,
    parse_authority,
    shown,
)
from api.errors import problem

WEBHOOKS = "/api/webhook/"
EXPOSED_HEADERS = ("ETag", "Location", "Preference-Applied", "Retry-After")
"""Response headers that pages of allowed origins can read."""
_EVERY_ORIGIN = r"[\s\S]*"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class BrowserRules:
    """The hosts and origins that the service accepts."""

    origins: Origins
    hosts: Hosts | None
    """``None`` accepts every host: with API keys a page of a foreign name has no key."""


class BrowserProtectionMiddleware:
    """Middleware that enforces ``BrowserRules``, with CORS headers on every response to a page."""

    def __init__(self, app: ASGIApp, rules: BrowserRules) -> None:
        self._app = app
        self._rules = rules
        self._foreign = self._cors()
        self._allowed = self._cors(allow_origin_regex=_EVERY_ORIGIN, allow_private_network=True)
        self._listed = self._cors(
            allow_origin_regex=_EVERY_ORIGIN, allow_private_network=True, allow_credentials=True
        )
        self._any = self._cors(allow_origins=["*"])

    def _cors(self, **settings: Any) -> CORSMiddleware:
        return CORSMiddleware(
            self._checked,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            **settings,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond to a preflight or a rejected request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["type"] == "websocket":
            await self._checked(scope, receive, send)
            return
        cors = self._cors_for(scope, headers)
        if (
            _is_preflight(scope, headers)
            and cors is not self._foreign
            and self._host_rejection(scope) is None
        ):
            await cors(scope, receive, send)
        else:
            await cors.simple_response(scope, receive, send, headers)

    def _cors_for(self, scope: Scope, headers: Headers) -> CORSMiddleware:
        origin = headers.get("origin")
        if self._rules.origins.allow_any:
            return self._any
        if origin is None:
            return self._foreign
        if self._rules.origins.lists(origin):
            return self._listed
        if self._rules.origins.allows(origin) or is_own(origin, _authority(scope)):
            return self._allowed
        return self._any if _is_webhook(scope) else self._foreign

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._rejection(scope) or self._app)(scope, receive, send)

    def _rejection(self, scope: Scope) -> ASGIApp | None:
        if _is_webhook(scope):
            return None
        rejection = self._host_rejection(scope)
        if rejection is not None:
            return rejection
        headers = Headers(scope=scope)
        is_safe = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        if is_safe and not _is_preflight(scope, headers):
            return None
        own = _authority(scope)
        for origin in headers.getlist("origin"):
            if not self._rules.origins.allows(origin) and not is_own(origin, own):
                return problem(
                    HTTPStatus.FORBIDDEN,
                    f"Pages of the origin '{shown(origin)}' may not call this service: "
                    "CORS_ORIGINS does not allow it",
                )
        return None

    def _host_rejection(self, scope: Scope) -> ASGIApp | None:
        hosts = self._rules.hosts
        if hosts is None or _is_webhook(scope) or hosts.allows(_authority(scope)):
            return None
        hosts_sent = Headers(scope=scope).getlist("host")
        subject = f"The host '{shown(hosts_sent[0])}'" if hosts_sent else "A request without a host"
        return problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"{subject} is not accepted while no API keys are set: use localhost or an IP address, "
            "list the name in ALLOWED_HOSTS, or set API_KEYS",
        )


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    is_requested = "origin" in headers and "access-control-request-method" in headers
    return scope["method"] == "OPTIONS" and is_requested


def _is_webhook(scope: Mapping[str, Any]) -> bool:
    return scope["type"] == "http" and scope["path"].startswith(WEBHOOKS)


def _authority(scope: Scope) -> Authority | None:
    """Return the ``Host`` of a request; ``None`` if it is missing, repeated or invalid."""
    values = Headers(scope=scope).getlist("host")
    return parse_authority(values[0]) if len(values) == 1 else None
