"""Polls without parameters take a shorter way through the service, with the same responses."""

import asyncio
import cProfile
from typing import Any

import pytest
from starlette.types import Message

from tests.support.documents import line
from tests.support.service import RunningService

IGNORED = "?unrelated=1"
"""A query that the service ignores, so that FastAPI resolves the parameters of the poll."""
MAX_CALL_RATIO = 0.75
"""Maximum Python function calls of a poll without parameters, in multiples of one with a query."""


def calls_of_a_poll(service: RunningService, path: str, query: bytes, headers: Any) -> int:
    """Return the number of Python function calls in the thread that serves a poll."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def poll() -> int:
        await service.app(dict(scope), receive, send)
        profile = cProfile.Profile()
        profile.enable()
        await service.app(dict(scope), receive, send)
        profile.disable()
        return sum(entry.callcount for entry in profile.getstats())

    calls = asyncio.run(poll())
    assert statuses[0] == statuses[1] == (304 if headers else 200)
    return calls


@pytest.mark.parametrize("is_known", [False, True])
def test_a_poll_without_parameters_has_the_response_of_any_other(
    service: RunningService, *, is_known: bool
) -> None:
    path = f"/api/executions/{service.run(line(4))['executionId']}"
    tag = service.http.get(path).headers["etag"]
    headers = {"If-None-Match": f'"other", {tag}'} if is_known else {}

    short, whole = (service.http.get(path + query, headers=headers) for query in ("", IGNORED))

    assert short.status_code == whole.status_code == (304 if is_known else 200)
    assert short.content == whole.content
    assert short.headers["etag"] == whole.headers["etag"] == tag
    assert service.http.get("/api/executions/none").json() == (
        service.http.get(f"/api/executions/none{IGNORED}").json()
    )


@pytest.mark.parametrize("is_known", [False, True])
def test_a_poll_without_parameters_costs_less(service: RunningService, *, is_known: bool) -> None:
    path = f"/api/executions/{service.run(line(4))['executionId']}"
    tag = service.http.get(path).headers["etag"]
    headers = [(b"if-none-match", tag.encode())] if is_known else []

    short, whole = (calls_of_a_poll(service, path, query, headers) for query in (b"", b"a=1"))

    assert short <= MAX_CALL_RATIO * whole
