"""API keys for tests: of each role, for the organizations A and B and for all."""

from hashlib import sha256

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.http_clients import client_of
from tests.support.service import RunningService

KEYS = {
    "read": ("read", "*"),
    "run": ("run", "*"),
    "admin": ("admin", "*"),
    "a-read": ("read", "A"),
    "a-run": ("run", "A"),
    "a-admin": ("admin", "A"),
    "b-admin": ("admin", "B"),
}
SECRET = "a secret for tests, of 32 bytes and more"


def key_of(name: str) -> str:
    return f"wos_{name}-key-for-tests"


def entry_of(name: str) -> str:
    role, organization = KEYS[name]
    return f"{name}:{role}:{organization}:{sha256(key_of(name).encode()).hexdigest()}"


ENTRIES = ",".join(map(entry_of, KEYS))


def as_(name: str) -> dict[str, str]:
    """Return the headers of a caller with this key."""
    return {"Authorization": f"Bearer {key_of(name)}"}


def token_for(service: RunningService, execution_id: str, name: str = "read") -> str:
    response = service.http.post(f"/api/executions/{execution_id}/token", headers=as_(name))
    assert response.status_code == 200, response.text
    return response.json()["token"]


def caller(service: RunningService, name: str) -> httpx.Client:
    """Return a client that sends this key with every request."""
    return client_of(service.url, headers=as_(name))


def socket_of(
    service: RunningService, query: str = "", headers: dict[str, str] | None = None
) -> ClientConnection:
    """Open a WebSocket to the service."""
    url = service.url.replace("http:", "ws:") + "/ws" + query
    return connect(url, additional_headers=headers, proxy=None, open_timeout=30, close_timeout=30)
