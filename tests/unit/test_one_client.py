"""Modules create no HTTP client or connection of their own, because the guard would miss it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKERS = {"tasks/http/client.py", "tasks/http/transport.py"}
# Prefect's own client, which calls only the operator's Prefect server.
KNOWN = {"flows/prefect_adapter/client.py": {"httpx.AsyncBaseTransport", "httpx.BaseTransport"}}

LIBRARIES = {
    "aiohttp", "requests", "urllib3", "http.client", "urllib.request", "httpcore", "httpcore2",
    "websockets", "pycurl", "ftplib", "smtplib", "telnetlib", "imaplib", "poplib", "xmlrpc.client",
}  # fmt: skip
CALLS = {
    f"{library}.{name}"
    for library in ("httpx", "httpx2")
    for name in (
        "Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport", "BaseTransport",
        "AsyncBaseTransport", "get", "post", "put", "patch", "delete", "head", "options", "request",
        "stream",
    )
}  # fmt: skip
CALLS |= {f"openai.{name}" for name in ("OpenAI", "AzureOpenAI", "AsyncAzureOpenAI")}
CALLS |= {f"socket.{name}" for name in ("socket", "create_connection", "socketpair")}
CALLS |= {f"asyncio.{name}" for name in ("open_connection", "open_unix_connection")}
CALLS |= {
    f"anyio.{name}" for name in ("connect_tcp", "connect_unix", "create_connected_udp_socket")
}
METHODS = {"create_connection", "create_datagram_endpoint", "sock_connect"}


def own_clients(source: str) -> list[str]:
    """Return the names in a module that could send requests, under any import name."""
    found: list[str] = []
    names: dict[str, str] = {}
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                found += [alias.name] if _forbidden(alias.name) else []
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = full
                found += [full] if _forbidden(full) else []
    for node in ast.walk(tree):
        full = _dotted(node, names) if isinstance(node, ast.Attribute) else ""
        if _forbidden(full) or (isinstance(node, ast.Attribute) and node.attr in METHODS):
            found.append(full or node.attr)  # type: ignore[union-attr]
        if isinstance(node, ast.Call) and _dotted(node.func, names) == "openai.AsyncOpenAI":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            made = given.get("http_client")
            ours = isinstance(made, ast.Call) and _dotted(made.func, names).startswith(
                "tasks.http.client."
            )
            found += [] if ours else ["openai.AsyncOpenAI"]
    return found


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}".removeprefix(".")
    return ""


def _forbidden(full: str) -> bool:
    return full in CALLS or any(full == one or full.startswith(f"{one}.") for one in LIBRARIES)


MODULES = sorted(
    path
    for part in ("tasks", "flows", "engine", "database", "api")
    for path in (ROOT / part).rglob("*.py")
    if path.relative_to(ROOT).as_posix() not in MAKERS
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_creates_another_client(path: Path):
    found = set(own_clients(path.read_text(encoding="utf-8")))
    assert found - KNOWN.get(path.relative_to(ROOT).as_posix(), set()) == set()


def test_all_modules_are_searched():
    names = {path.relative_to(ROOT).as_posix() for path in MODULES}
    assert {"tasks/http/node.py", "tasks/llm/client.py", "flows/nodes/prefect_task.py"} <= names
    assert all((ROOT / maker).exists() for maker in MAKERS)


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\nhttpx.AsyncClient()",
        "import httpx as h\nasync def f():\n    async with h.AsyncClient() as c: ...",
        "from httpx import AsyncClient",
        "import httpx\nhttpx.get('http://x')",
        "import httpx2\nhttpx2.Client()",
        "import httpx\nclass T(httpx.AsyncHTTPTransport): ...",
        "import urllib.request\nurllib.request.urlopen('http://x')",
        "from urllib.request import urlopen",
        "from urllib import request",
        "import requests",
        "def f():\n    import aiohttp",
        "import http.client",
        "from http import client",
        "import socket\nsocket.create_connection(('x', 1))",
        "from socket import socket",
        "import asyncio\nasyncio.open_connection('x', 1)",
        "import asyncio\nasyncio.get_running_loop().create_connection(object, 'x', 1)",
        "import openai\nopenai.AsyncOpenAI()",
        "import openai, httpx\nopenai.AsyncOpenAI(http_client=make())",
        "from openai import OpenAI",
    ],
)
def test_another_client_is_found(source: str):
    assert own_clients(source)


@pytest.mark.parametrize(
    "source",
    [
        "import httpx\nhttpx.URL('http://x')\ndef f(r: httpx.Request): ...",
        "from http import HTTPStatus",
        "import socket\nsocket.gaierror",
        "import openai\nfrom tasks.http.client import new_openai_transport\n"
        "openai.AsyncOpenAI(http_client=new_openai_transport(1, 2))",
        "def f(client): client.get('/x')",
    ],
)
def test_a_module_without_requests_is_ignored(source: str):
    assert own_clients(source) == []
