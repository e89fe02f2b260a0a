"""HTTP clients of handlers: one TLS context, URLs, and descriptions of errors."""

import socket
import ssl
from datetime import UTC, datetime

import httpx2
import pytest

from tasks.context import HandlerSettings
from tasks.http.client import (
    describe_error,
    new_client,
    new_openai_transport,
    parse_retry_after,
    parse_url,
    redacted_url,
)
from tasks.http.transport import ssl_context

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def test_the_tls_context_is_made_once():
    assert ssl_context() is ssl_context()
    assert ssl_context().verify_mode == ssl.CERT_REQUIRED


async def test_clients_share_the_tls_context(monkeypatch: pytest.MonkeyPatch):
    ssl_context()

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    async with new_client(HandlerSettings(), 1), new_openai_transport(HandlerSettings(), 1):
        pass


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        (" 0 ", 0),
        ("1.5", 1.5),
        ("Mon, 01 Jan 2024 00:01:30 GMT", 90),
        ("Mon, 01 Jan 2024 01:01:30 +0100", 90),
        ("Sun, 31 Dec 2023 23:59:00 GMT", 0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None):
    assert parse_retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:secret@h.example/a/b?q=secret#f", "https://h.example/a/b"),
        ("http://h:8080", "http://h:8080/"),
        ("http://[::1]:80/x", "http://[::1]/x"),
    ],
)
def test_a_url_is_shown_without_query_and_credentials(url: str, shown: str):
    assert redacted_url(parse_url(url)) == shown


@pytest.mark.parametrize(
    "url", ["", "x", "//h", "ftp://h", "file:///etc", "http://", "http://a b", "http://h:x/"]
)
def test_a_url_that_is_not_callable_is_rejected(url: str):
    with pytest.raises(ValueError, match=r"^should |^is not a valid URL"):
        parse_url(url)


def _caused(inner: BaseException) -> httpx2.ConnectError:
    error = httpx2.ConnectError("")
    error.__cause__ = OSError("all attempts failed")
    error.__cause__.__context__ = ExceptionGroup("many", [OSError(), OSError()])
    error.__cause__.__context__.__cause__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_caused(ConnectionRefusedError()), "the connection was refused"),
        (_caused(socket.gaierror(-2, "…")), "the host name cannot be resolved"),
        (_caused(ConnectionResetError()), "the connection was closed before the response arrived"),
        (_caused(ssl.SSLCertVerificationError()), "the certificate is not trusted"),
        (httpx2.ReadError(""), "read error"),
        (httpx2.ReadError("what happened"), "what happened"),
        (httpx2.LocalProtocolError("b'Bearer secret'"), "the request is not valid HTTP"),
        (ExceptionGroup("", [ConnectionRefusedError()]), "the connection was refused"),
    ],
)
def test_every_error_has_a_description(error: BaseException, reason: str):
    assert describe_error(error).startswith(reason)


def test_a_cycle_of_causes_is_described():
    first, second = OSError(""), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert describe_error(first) == "second"
