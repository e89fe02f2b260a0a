"""An HTTP server on loopback with scripted responses, which records its requests."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A recorded request; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query, not decoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server."""

    status: int = 200
    body: bytes | str = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    pause: float = 0
    """Delay before each byte of the body, in seconds; 0 sends it in one piece."""
    pieces: "Callable[[], AsyncIterator[bytes]] | None" = None
    """The body in chunks; the connection breaks if it raises ``ConnectionError``."""

    @classmethod
    def of(cls, value: Any, status: int = 200, **headers: str) -> "Response":
        """Return a JSON response; underscores in header names mean dashes."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, json.dumps(value), {"Content-Type": "application/json", **named})


Handler = Callable[[Request], Awaitable[Response | None]]
"""Returns the response to a request; ``None`` closes the connection without a response."""


@dataclass(slots=True)
class ScriptedServer:
    """The port of a running server, and its requests."""

    port: int
    requests: list[Request] = field(default_factory=list[Request])

    @property
    def url(self) -> str:
        """The origin of the server, without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def last(self) -> Request:
        """The last request."""
        return self.requests[-1]


@asynccontextmanager
async def serve(responses: Handler | Response | list[Response]) -> AsyncGenerator[ScriptedServer]:
    """Run a server: one response for all requests, one response each, or those of a function.

    An error in the server itself, for example an unexpected request, fails the test at its end.
    """
    script = iter(cast("list[Response]", responses)) if isinstance(responses, list) else None
    failures: list[Exception] = []
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def respond(request: Request) -> Response | None:
        if script is not None:
            return next(script, Response(500, "the test has no response for this request"))
        if isinstance(responses, Response):
            return responses
        return await cast("Handler", responses)(request)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader)
            server.requests.append(request)
            response = await respond(request)
            if response is not None:
                await _write(writer, request, response)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client may disconnect at any time
        except Exception as error:  # noqa: BLE001 - raised again at the end of the test
            failures.append(error)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connected(reader, writer))
        connections[task] = writer

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server = ScriptedServer(listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        for task, writer in connections.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close in this iteration of the loop
        if failures:
            raise failures[0]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Run a server in a thread with a separate loop; yield its URL."""
    ready, stop, address = threading.Event(), threading.Event(), [""]

    async def run() -> None:
        async with serve(handler) as server:
            address[0] = server.url
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(60)
    try:
        yield address[0]
    finally:
        stop.set()
        thread.join()


async def never(_request: Request) -> Response:
    """Wait forever: a handler that never responds."""
    await asyncio.Event().wait()
    raise AssertionError


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8")
    line, *rest = head.rstrip().split("\r\n")
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    for row in rest:
        name, _, value = row.partition(":")
        previous = headers.get(name.lower())
        headers[name.lower()] = f"{previous}, {value.strip()}" if previous else value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


async def _write(writer: asyncio.StreamWriter, request: Request, response: Response) -> None:
    if response.pieces is not None:
        await _write_pieces(writer, response, response.pieces())
        return
    body = response.body.encode() if isinstance(response.body, str) else response.body
    without_body = request.method == "HEAD" or response.status in {204, 304}
    headers = {"Content-Length": str(len(body)), "Connection": "close", **response.headers}
    if response.status == HTTPStatus.NO_CONTENT:
        headers.pop("Content-Length")
    is_standard = response.status in set(HTTPStatus)
    phrase = HTTPStatus(response.status).phrase if is_standard else ""
    head = f"HTTP/1.1 {response.status} {phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(head.encode() + b"\r\n")
    if without_body:
        return
    for piece in [bytes([byte]) for byte in body] if response.pause else [body]:
        await asyncio.sleep(response.pause)
        writer.write(piece)
        await writer.drain()


async def _write_pieces(
    writer: asyncio.StreamWriter, response: Response, pieces: AsyncIterator[bytes]
) -> None:
    headers = {"Transfer-Encoding": "chunked", "Connection": "close", **response.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {response.status} OK\r\n{head}\r\n".encode())
    async for piece in pieces:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
