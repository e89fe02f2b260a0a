"""HTTP clients for tests: for servers of this machine, which use no TLS."""

import ssl
from typing import Any

import httpx


def client_of(url: str, **options: Any) -> httpx.Client:
    """Return a client without certificates, because loading them takes 20 ms."""
    given = {"timeout": 30.0, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), **options}
    return httpx.Client(base_url=url, **given)
