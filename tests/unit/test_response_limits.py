"""Limits of responses: endless bodies, decompression bombs, and content codings."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.http_calls import result_for
from tests.support.llm_calls import llm_error_for
from tests.support.network import get, get_error
from tests.support.servers import Response, serve

LIMIT = 1_000_000
OPEN = {"http_allowed_hosts": "127.0.0.1", "http_max_response_bytes": LIMIT}


@asynccontextmanager
async def endless(head: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield the URL of a server whose response has no end, and the event of a disconnect."""
    gone = asyncio.Event()

    async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode())
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(send_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", gone


@pytest.mark.parametrize("head", ["200 OK", "404 Not Found", "302 Found\r\nLocation: /again"])
async def test_an_endless_response_is_limited(head: str):
    async with endless(head) as (url, gone):
        error = await get_error(url, **OPEN)
        await gone.wait()  # the connection is closed at once
    assert "the response is larger than 1000000 bytes (HTTP_MAX_RESPONSE_BYTES)" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(("size", "fits"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("packed", [True, False])
async def test_the_limit_is_exact_and_counts_decoded_bytes(size: int, fits: bool, packed: bool):
    body = b"x" * size
    headers = {"Content-Encoding": "gzip"} if packed else {}
    async with serve(
        Response(200, gzip.compress(body, mtime=0) if packed else body, headers)
    ) as server:
        if fits:
            assert (await get(server.url, **OPEN))["outputData"] == {"response": body.decode()}
        else:
            assert "larger than 1000000 bytes" in str(await get_error(server.url, **OPEN))


def _bomb(layers: int) -> bytes:
    """Return 256 MiB of zeros, compressed ``layers`` times."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(256)]) + packer.flush()
    for _ in range(layers - 1):
        bomb = gzip.compress(bomb, mtime=0)
    return bomb


@pytest.mark.parametrize("layers", [1, 2, 3])
async def test_a_decompression_bomb_is_limited(layers: int):
    bomb = _bomb(layers)
    assert len(bomb) < 300_000
    headers = {"Content-Encoding": ", ".join(["gzip"] * layers)}
    async with serve(Response(200, bomb, headers)) as server:
        tracemalloc.start()
        try:
            error = await get_error(server.url, **OPEN)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert "larger than 1000000 bytes" in str(error)
    assert most < 8_000_000


async def test_a_response_with_too_many_codings_is_rejected():
    headers = {"Content-Encoding": ", ".join(["gzip"] * 5)}
    async with serve(Response(200, b"x", headers)) as server:
        error = await get_error(server.url, **OPEN)
    assert "has 5 content codings, more than 4" in str(error)


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


TEXT = b"0123456789" * 50_000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("X-GZip", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", _raw_deflate(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT), mtime=0)),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_accepted_codings_are_decoded(encoding: str, body: bytes):
    async with serve(Response(200, body, {"Content-Encoding": encoding})) as server:
        result = await get(server.url, **OPEN)
        assert server.last.headers["accept-encoding"] == "gzip, deflate"
    assert result["outputData"] == {"response": TEXT.decode()}
    assert result["headers"].get("content-encoding", "") in {"", "identity"}


UNKNOWN = {
    "br": "br",
    "ZSTD": "zstd",
    "compress": "compress",
    "gzip, br": "br",
    "br, gzip": "br",
    "aes128gcm,gzip,deflate": "aes128gcm",
}


@pytest.mark.parametrize("encoding", UNKNOWN)
async def test_an_unsupported_coding_is_an_error_that_names_it(encoding: str):
    body = gzip.compress(b"packed already", mtime=0)
    async with serve(Response(200, body, {"Content-Encoding": encoding})) as server:
        error = await get_error(server.url, **OPEN)
    assert f"the response has the content coding '{UNKNOWN[encoding]}'" in str(error)
    assert "gzip, deflate" in str(error)
    assert not error.retryable


async def test_the_coding_of_an_empty_body_is_ignored():
    packed = {"Content-Encoding": "br"}
    result = await result_for(Response(200, b"packed", packed), httpMethod="HEAD")
    assert (result["statusCode"], result["outputData"]) == (200, {"response": ""})
    async with serve(Response(200, b"", packed)) as server:
        assert (await get(server.url, **OPEN))["outputData"] == {"response": ""}


async def test_an_error_status_is_reported_despite_an_unsupported_coding():
    packed = {"Content-Encoding": "br", "Retry-After": "7"}
    async with serve(Response(503, b"packed", packed)) as server:
        error = await get_error(server.url, **OPEN)
    assert str(error) == f"GET {server.url}/ returned 503 Service Unavailable"
    assert (error.retryable, error.retry_after) == (True, 7)


async def test_a_redirect_is_followed_despite_an_unsupported_coding():
    hop = Response(302, b"packed", {"Content-Encoding": "br", "Location": "/there"})
    async with serve([hop, Response(200, "there")]) as server:
        assert (await get(server.url, **OPEN))["outputData"] == {"response": "there"}


async def test_an_unsupported_coding_of_a_model_server_is_an_error():
    result_for = Response(200, b"packed", {"Content-Encoding": "br"})
    error = await llm_error_for([result_for])
    assert "the model server at 127.0.0.1: the response has the content coding 'br'" in str(error)
    assert not error.retryable


async def test_a_body_that_is_not_in_its_declared_coding_is_an_error():
    async with serve(Response(200, b"abc", {"Content-Encoding": "gzip"})) as server:
        error = await get_error(server.url, **OPEN)
    assert "the response is not valid gzip" in str(error)
    assert error.retryable


async def test_the_limit_applies_to_model_servers():
    error = await llm_error_for("x" * 11_000_000)
    assert "larger than 10485760 bytes" in str(error)
    assert not error.retryable


async def test_the_number_of_redirects_is_a_setting():
    hop = Response(302, headers={"Location": "/again"})
    for most in (0, 2):
        async with serve(hop) as server:
            error = await get_error(server.url, **OPEN, http_max_redirects=most)
            assert len(server.requests) == most + 1
        assert f"redirected more than {most} times" in str(error)
