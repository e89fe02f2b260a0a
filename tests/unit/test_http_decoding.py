"""Responses of the http node: content codings, charsets, binary data, and unusual headers."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator

import pytest

from tasks.http.client import MAX_RETRY_AFTER_SECONDS
from tests.support.http_calls import call, call_error, error_for, result_for
from tests.support.llm_calls import llm_error_for
from tests.support.network import get, get_error
from tests.support.servers import Response, serve

PUNYCODE = {"Content-Type": "text/plain; charset=punycode"}
SLOW = b"a-" + b"b9" * 500_000
"""Text that the punycode codec decodes in half a minute."""


async def test_a_charset_that_is_not_of_the_web_is_not_used():
    result = await result_for(Response(200, SLOW, PUNYCODE))
    assert result["outputData"] == {"response": SLOW.decode()}


@pytest.mark.parametrize("status", [400, 500])
async def test_another_charset_is_not_used_for_an_error_message(status: int):
    error = await error_for(Response(status, SLOW, PUNYCODE))
    assert str(error).endswith(": " + SLOW[:500].decode())


@pytest.mark.parametrize("status", [400, 500])
async def test_another_charset_is_not_used_for_the_message_of_a_model_server(status: int):
    error = await llm_error_for([Response(status, SLOW, PUNYCODE)])
    assert f"returned {status}: a-b9b9" in str(error)


async def test_parsing_a_body_stops_at_the_timeout_of_the_node(monkeypatch: pytest.MonkeyPatch):
    reading = asyncio.Event()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(*_args: object) -> None:
        loop.call_soon_threadsafe(reading.set)
        try:
            while True:
                check_stop()
        finally:
            loop.call_soon_threadsafe(stopped.set)

    from offload import check_stop  # noqa: PLC0415 - the function that is meant

    monkeypatch.setattr("tasks.http.node.read_response", endless)
    async with serve(Response(200, b"x" * 100_000)) as server:
        error = await call_error(server.url, timeoutSeconds=0.5)
        assert "no complete response within 0.5 s" in str(error)
        await stopped.wait()
        stopped.clear()
        reading.clear()
        task = asyncio.create_task(call(server.url))
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stopped.wait()


# Content codings

TEXT = b'{"a": "0123456789"}' + b" " * 100_000


def zipped(*members: bytes) -> bytes:
    return b"".join(gzip.compress(member, mtime=0) for member in members)


def raw(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", zipped(TEXT[:9], TEXT[9:])),
        ("gzip", zipped(*[TEXT[i : i + 1000] for i in range(0, len(TEXT), 1000)])),
        ("gzip", zipped(b"", TEXT, b"")),
        ("gzip", zipped(TEXT) + b"\0" * 1000),
        ("gzip", zipped(TEXT) + b"\0\0" + zipped(b"  ")),
        ("gzip", zipped(TEXT) + b"trailing garbage"),
        ("gzip", zipped(TEXT) + b"\x1f"),
        ("gzip, gzip", zipped(zipped(TEXT[:9]), zipped(TEXT[9:]))),
        ("deflate, gzip", zipped(raw(TEXT))),
        ("x-deflate", zlib.compress(TEXT)),
        *((name, TEXT) for name in ("UTF-8", "utf8", "none", "identity", "aws-chunked", "binary")),
        *(
            (name, TEXT)
            for name in ("iso-8859-1", "NULL", "application/json", "foo", "", ",", "x;y")
        ),
        ("gzip, aws-chunked", zipped(TEXT)),
        ("aws-chunked,gzip", zipped(TEXT)),
        ("utf-8, gzip", zipped(TEXT)),
        ("foo, gzip", zipped(TEXT)),
        ("gzip;q=1.0", zipped(TEXT)),
    ],
)
@pytest.mark.parametrize("chunk", [None, 7])
async def test_every_form_of_encoded_body_is_decoded(encoding: str, body: bytes, chunk: int | None):
    async def pieces() -> AsyncIterator[bytes]:
        step = chunk or len(body)
        for at in range(0, min(len(body), 700), step):
            yield body[at : at + step]
        yield body[700:] if chunk else b" "

    response = Response(200, body, {"Content-Encoding": encoding})
    if chunk:
        response = Response(200, b"", {"Content-Encoding": encoding}, pieces=pieces)
    assert (await result_for(response))["outputData"] == {"a": "0123456789"}


async def test_the_headers_describe_the_body_that_the_result_contains():
    zip_headers = {"Content-Encoding": "gzip", "X-Other": "kept"}
    headers = (await result_for(Response(200, zipped(TEXT), zip_headers)))["headers"]
    assert headers["x-other"] == "kept"
    assert {"content-encoding", "content-length"}.isdisjoint(headers)
    plain = (await result_for(Response(200, TEXT)))["headers"]
    assert plain["content-length"] == str(len(TEXT))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "deflate, gzip"])
@pytest.mark.parametrize("missing", [1, 8, 60])
async def test_a_truncated_body_is_a_retryable_error(encoding: str, missing: int):
    body = TEXT + bytes(range(256)) * 10
    packed = zlib.compress(body) if encoding.startswith("deflate") else zipped(body)
    packed = zipped(packed) if "," in encoding else packed
    error = await error_for(Response(200, packed[:-missing], {"Content-Encoding": encoding}))
    assert "the response is truncated" in str(error)
    assert error.retryable


async def test_a_truncated_second_member_is_an_error():
    body = zipped(TEXT) + zipped(TEXT)[:-10]
    error = await error_for(Response(200, body, {"Content-Encoding": "gzip"}))
    assert "the response is truncated" in str(error)


async def test_an_empty_body_is_not_truncated():
    result = await result_for(Response(200, b"", {"Content-Encoding": "gzip"}))
    assert result["outputData"] == {"response": ""}


async def test_a_decompression_bomb_between_two_codings_is_limited():
    # Only empty members: 200 MB of gzip that decode to nothing, in less than 1 MB.
    packer = zlib.compressobj(wbits=31)
    empty = gzip.compress(b"", mtime=0) * 50_000
    bomb = b"".join([packer.compress(empty) for _ in range(200)]) + packer.flush()
    response = Response(200, bomb, {"Content-Encoding": "gzip, gzip"})
    async with serve(response) as server:
        error = await get_error(server.url, http_allowed_hosts="127.0.0.1")
    assert "larger than 10485760 bytes (HTTP_MAX_RESPONSE_BYTES)" in str(error)


# Charsets and binary data

RUSSIAN = "Привет"
RSS = f'<?xml version="1.0" encoding="windows-1251"?><t>{RUSSIAN}</t>'
HTML = f'<!DOCTYPE html><html><head><meta charset="windows-1251"></head>{RUSSIAN}'
CSS = f'@charset "windows-1251";{RUSSIAN}'
PLAIN_XML = '<?xml version="1.0"?><t>я</t>'
WRONG_XML = '<?xml version="1.0" encoding="UTF-16"?><t>я</t>'
HTTP_EQUIV = f'<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">{RUSSIAN}'


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("application/rss+xml", RSS.encode("cp1251"), RSS),
        ("text/xml", RSS.encode("cp1251"), RSS),
        ("text/plain", RSS.encode("cp1251"), RSS),
        ("", RSS.encode("cp1251"), RSS),
        ("text/html", HTML.encode("cp1251"), HTML),
        ("text/html", HTTP_EQUIV.encode("cp1251"), HTTP_EQUIV),
        ("text/html; charset=utf-8", HTML.encode(), HTML),
        ("text/xml; charset=koi8-r", RSS.encode("koi8-r"), RSS),
        ("text/xml; charset=nope", RSS.encode("cp1251"), RSS),
        (
            "text/css",
            b'@charset "windows-1251";' + RUSSIAN.encode("cp1251"),
            f'@charset "windows-1251";{RUSSIAN}',
        ),
        ("text/plain", b"\xff\xfe" + RUSSIAN.encode("utf-16-le"), RUSSIAN),
        ("text/plain", b"\xfe\xff" + RUSSIAN.encode("utf-16-be"), RUSSIAN),
        ("", b"\xef\xbb\xbf" + RUSSIAN.encode(), RUSSIAN),
        (
            "text/xml",
            '<?xml version="1.0"?><t>я</t>'.encode("utf-16-le"),
            '<?xml version="1.0"?><t>я</t>',
        ),
        (
            "text/xml",
            b'<?xml version="1.0" encoding="UTF-16"?>a',
            '<?xml version="1.0" encoding="UTF-16"?>a',
        ),
        ("text/plain; charset=latin-1", "ü".encode("latin-1"), "ü"),
        ('text/plain; charset="windows-1252"', "€".encode("cp1252"), "€"),
        ("text/csv; charset=shift_jis", "日本".encode("cp932"), "日本"),
        ("application/octet-stream", b"a;b\nc;d\n", "a;b\nc;d\n"),
        ("text/plain", b"\xff", "\ufffd"),
        ("application/xhtml+xml", RUSSIAN.encode(), RUSSIAN),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
    ],
)
async def test_text_is_read_in_the_encoding_that_is_declared(
    content_type: str, body: bytes, text: str
):
    headers = {"Content-Type": content_type} if content_type else {}
    assert (await result_for(Response(200, body, headers)))["outputData"] == {"response": text}


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", PNG),
        ("application/pdf", b"%PDF-1.4\nonly ASCII"),
        ("application/octet-stream", PNG),
        ("application/octet-stream", b"\xff\xd8\xff\xe0"),
        ("", PNG),
        ("text/plain", PNG),
        ("application/zip", b"PK\x03\x04"),
        ("audio/mpeg", b"ID3"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK"),
        ("application/x-unknown; a=b", b"\0\1"),
    ],
)
async def test_binary_data_is_returned_as_base64(content_type: str, body: bytes):
    headers = {"Content-Type": content_type} if content_type else {}
    assert (await result_for(Response(200, body, headers)))["outputData"] == {
        "base64": base64.b64encode(body).decode(),
        "contentType": content_type or "application/octet-stream",
        "size": len(body),
    }


async def test_binary_data_is_text_if_the_node_requires_text():
    response = Response(200, b"%PDF-1.4", {"Content-Type": "application/pdf"})
    result = await result_for(response, httpResponseType="text")
    assert result["outputData"] == {"response": "%PDF-1.4"}


async def test_an_error_with_a_binary_body_names_the_status_only():
    error = await error_for(Response(404, PNG, {"Content-Type": "image/png"}))
    assert str(error).endswith("returned 404 Not Found")


async def test_ten_megabytes_of_json_are_parsed():
    rows = [{"id": i, "name": "Zoë", "n": [i, None, 1.5]} for i in range(100_000)]
    body = json.dumps({"rows": rows})
    async with serve(Response(200, body, {"Content-Type": "application/json"})) as server:
        result = await get(server.url, http_allowed_hosts="127.0.0.1")
    assert result["outputData"] == {"rows": rows}


# Unusual headers

ODD_DELAYS = [
    "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
    *("-5", "nan", "inf", "-inf", "1e400", "9" * 400, "1" + "0" * 5000, "soon", "", "0x10", "1,5"),
    *("٣", "Thu, 99 Foo 2024", "Thu, 01 Jan 2024 99:99:99 GMT"),
    *("Thu, 01 Jan 2024 00:00:00 +9999999", "a" * 20_000, ", , ,", "Thu, 01"),
]


@pytest.mark.parametrize("value", ODD_DELAYS)
async def test_an_invalid_retry_after_is_ignored(value: str):
    error = await error_for(Response(429, "slow down", {"Retry-After": value}))
    assert "returned 429" in str(error)
    assert (error.retryable, error.retry_after, error.status_code) == (True, None, 429)


@pytest.mark.parametrize(
    "value", ["999999999", "9" * 18, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59"]
)
async def test_a_retry_after_in_the_far_future_is_a_delay_that_can_be_added_to_a_date(value: str):
    error = await error_for(Response(429, "", {"Retry-After": value}))
    assert error.retry_after == MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "a;" + '";' * 20_000},
        {"Content-Type": "text/plain; charset*=utf-8''x"},
        {"Content-Type": ";;;===;charset="},
        {"Content-Type": "text/plain; charset=" + "x" * 50_000},
        {
            "Set-Cookie": "a=b; Expires=Thu, 01 Jan 99999999999999 00:00:00 GMT; Max-Age="
            + "9" * 400
        },
        {"Set-Cookie": "=;=;" * 5_000},
        {"Content-Encoding": "," * 50_000},
        {"Link": "<" * 50_000},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_odd_headers_do_not_matter(headers: dict[str, str]):
    result = await result_for(Response(200, "text", headers))
    assert result["outputData"] == {"response": "text"}
