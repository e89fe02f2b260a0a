"""Callback attempts: the delays between them and the URLs that are accepted."""

import pytest

from flows.callbacks.dispatcher import (
    JITTER,
    MAX_CALLBACK_BACKOFF_SECONDS,
    delay_after,
)
from flows.callbacks.request import check_callback_url


@pytest.mark.parametrize(
    ("attempt", "retry_after", "minimum"),
    [
        (1, None, 5),
        (2, None, 10),
        (3, None, 20),
        (10, None, 2_560),
        (11, None, MAX_CALLBACK_BACKOFF_SECONDS),
        (5_000, None, MAX_CALLBACK_BACKOFF_SECONDS),
        (1, 0.0, 5),
        (1, 120.0, 120),
        (3, 7.0, 20),
        (1, 1e9, MAX_CALLBACK_BACKOFF_SECONDS),
    ],
)
def test_the_delay_doubles_up_to_an_hour(attempt: int, retry_after: float | None, minimum: float):
    delays = [delay_after(attempt, 5.0, retry_after) for _ in range(50)]
    assert all(minimum <= delay <= minimum * (1 + JITTER) for delay in delays)
    assert len(set(delays)) > 1


GOOD = [
    "http://a",
    "https://a.example/path?x=1&y=%20#part",
    "http://127.0.0.1:8080/",
    "http://[::1]:9/x",
    "https://bücher.example/straße",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_valid_url_is_accepted_unchanged(url: str):
    assert check_callback_url(url) == url


WRONG = [
    ("", "http"),
    ("a.example/x", "http"),
    ("ftp://a.example/", "http"),
    ("javascript:alert(1)", "http"),
    ("http://", "host"),
    ("http:///x", "host"),
    ("http://?x", "host"),
    (" http://a.example/", "space"),
    ("http://a b/", "space"),
    ("http://a.example/\r\nX: y", "control"),
    ("http://a.example/\x00", "control"),
    ("http://a.example/\x7f", "control"),
    ("http://a.example:99999/", "port"),
    ("http://a.example:x/", "URL"),
    ("http://user:pass@a.example/", "password"),
    ("http://user@a.example/", "user name"),
    ("http://a.example\\@b.example/", "user name"),
]


@pytest.mark.parametrize(("url", "reason"), WRONG)
def test_an_invalid_url_is_rejected(url: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        check_callback_url(url)
