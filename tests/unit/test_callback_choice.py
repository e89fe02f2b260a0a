"""Which receivers are called next, when again, and which addresses are taken."""

import pytest

from flows.callbacks.dispatcher import (
    JITTER,
    MAX_CALLBACK_BACKOFF_SECONDS,
    SLOTS,
    SLOTS_OF_A_HOST,
    SLOTS_OF_THE_SLOW,
    choose,
    delay_after,
)
from flows.callbacks.request import check_callback_url

HUNDRED = {f"h{i}": 1 for i in range(100)}


def test_one_host_never_has_all_slots():
    assert choose({"a": 1_000}, {}, (), {}) == ["a"] * SLOTS_OF_A_HOST
    assert choose({"a": 1_000, "b": 1}, {"a": SLOTS_OF_A_HOST}, (), {}) == ["b"]


def test_no_more_is_sent_than_is_due_and_than_there_are_slots():
    assert choose({"a": 1, "b": 2}, {}, (), {}) == ["a", "b", "b"]
    assert len(choose(HUNDRED, {}, (), {})) == SLOTS
    assert choose(HUNDRED, {"x": SLOTS}, (), {}) == []


def test_hosts_take_turns():
    turns = {"a": 3, "b": 1, "c": 2}
    due = dict.fromkeys(turns, 1)
    assert choose({**due, "new": 1}, {}, (), turns) == ["new", "b", "c", "a"]
    assert choose({"a": 9, "b": 9}, {}, (), turns)[:4] == ["b", "a", "b", "a"]


def test_slow_hosts_leave_room_for_all_others():
    slow = [f"s{i}" for i in range(50)]
    due = {**dict.fromkeys(slow, 100), "quick": 2}
    chosen = choose(due, {}, slow, {})
    assert chosen.count("quick") == 2
    assert len(set(chosen) - {"quick"}) == SLOTS_OF_THE_SLOW
    busy = dict.fromkeys(slow[:SLOTS_OF_THE_SLOW], 1)
    assert choose(due, busy, slow, {}) == ["quick", "quick"]


def test_a_slow_host_is_called_once_at_a_time():
    assert choose({"s": 100}, {}, ("s",), {}) == ["s"]
    assert choose({"s": 100}, {"s": 1}, ("s",), {}) == []


@pytest.mark.parametrize(
    ("attempt", "retry_after", "least"),
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
def test_the_pause_doubles_up_to_an_hour(attempt: int, retry_after: float | None, least: float):
    delays = [delay_after(attempt, 5.0, retry_after) for _ in range(50)]
    assert all(least <= delay <= least * (1 + JITTER) for delay in delays)
    assert len(set(delays)) > 1


GOOD = [
    "http://a",
    "https://a.example/path?x=1&y=%20#part",
    "http://127.0.0.1:8080/",
    "http://[::1]:9/x",
    "https://bücher.example/straße",
]


@pytest.mark.parametrize("url", GOOD)
def test_addresses_that_can_be_called_are_taken_as_they_are(url: str):
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
def test_other_addresses_are_refused(url: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        check_callback_url(url)
