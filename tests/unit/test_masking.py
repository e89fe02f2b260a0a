"""Secret masking: every encoding of a secret is masked, and nothing else."""

import base64
import hashlib
import json
import random
import threading
import time
import timeit
import tracemalloc
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.masking import MASK, masked_headers
from offload import WorkStoppedError, use_stop_event
from tasks.masking import Masker, _encodings
from tests.support.generated import examples

CANARY = 'c4n4ry/+ "quoted" ü\\&%'


@pytest.fixture
def masker() -> Masker:
    made = Masker()
    made.add_secret(CANARY)
    return made


@pytest.mark.parametrize(
    "encoding",
    [
        CANARY,
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        quote(CANARY),
        quote(CANARY, safe=""),
        quote(CANARY, safe="").lower(),
        quote_plus(CANARY),
        urlencode({"q": CANARY}),
        str(httpx.URL("http://x/", params={"q": CANARY})),
        str(httpx.URL(f"http://x/?q={CANARY}")),
        str(httpx.URL(f"http://x/{CANARY}")),
        str(httpx.URL("http://x/", username=CANARY, password="p")),
        base64.b64encode(CANARY.encode()).decode(),
        base64.urlsafe_b64encode(CANARY.encode()).decode(),
        base64.b64encode(f"user:{CANARY}".encode()).decode(),
        base64.b64encode(f"me:{CANARY}:more".encode()).decode(),
    ],
)
def test_every_encoding_is_masked(masker: Masker, encoding: str):
    masked = masker.mask(f"before {encoding} after")

    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "c4n4ry" not in masked.lower()
    assert "quoted" not in masked.lower()


@examples(200)
@given(st.text(min_size=8, max_size=30), st.text(max_size=8), st.text(max_size=8))
def test_basic_authentication_never_shows_a_secret(secret: str, user: str, after: str):
    masker = Masker()
    masker.add_secret(secret)
    encoded = base64.b64encode(f"{user}:{secret}{after}".encode()).decode()

    assert MASK in masker.mask(encoded)


def test_a_secret_without_its_spaces_is_too_short_to_be_masked():
    masker = Masker()
    masker.add_secret("    x    ")
    assert masker.mask("20 20 2020 nothing") == "20 20 2020 nothing"


@pytest.mark.timeout(120)  # quadratic time would take hours
@pytest.mark.parametrize(
    "text",
    [
        "A" * 2_000_000,
        ("A" * 76 + "\n") * 26_000,
        "\\" * 2_000_000,
    ],
    ids=["one line", "lines", "backslashes"],
)
def test_masking_takes_linear_time(masker: Masker, text: str):
    assert masker.mask(text) == text
    assert not masker.contains_json(text)


def test_masked_values_keep_their_shape(masker: Masker):
    masker.add_secret("12345678")
    value = {"a": [CANARY, 12345678, 1, True, None], CANARY: "fine", "n": 0.5}

    assert masker.mask_json(value) == {"a": [MASK, MASK, 1, True, None], MASK: "fine", "n": 0.5}


def test_a_truncated_secret_is_masked_in_an_error():
    masker = Masker()
    masker.add_secret("sk-0123456789-abcdefghij")

    assert masker.mask_truncated("the key 'sk-0123456789-abc…") == "the key '***…"
    assert masker.mask_truncated("the key sk-01234 is invalid") == "the key *** is invalid"
    assert masker.mask_truncated("the key sk-0") == "the key sk-0"


def test_each_line_of_a_key_is_masked():
    masker = Masker()
    masker.add_secret("-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----")

    assert masker.mask("> AAAABBBBCCCC") == "> ***"


def test_a_long_key_takes_little_memory():
    """An RSA key of 4096 bits has fifty lines; all prefixes of its encodings took 400 MB."""
    lines = [f"{i:02}" * 32 for i in range(50)]
    assert len("\n".join(lines)) < 4_096
    made = Masker()
    tracemalloc.start()
    try:
        made.add_secret("\n".join(lines))
        made.add_secret("k3y" * 1_365)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


@examples(200)
@given(st.lists(st.text("ab/", min_size=4, max_size=8), min_size=1, max_size=3), st.text("ab/"))
def test_a_suffix_with_which_a_secret_may_begin_is_pending(secrets: list[str], text: str):
    made = Masker()
    for secret in secrets:
        made.add_secret(secret)

    pending = made.pending_suffix(text)
    prefixes = [i for i in range(1, len(text) + 1) if any(s.startswith(text[-i:]) for s in secrets)]
    assert pending >= max(prefixes, default=0)
    assert pending <= len(text)


def test_every_encoding_is_pending_until_its_last_character():
    value = 'p\u00e4ss w/rd%"+\nsecond line of it'
    masker = Masker()
    masker.add_secret(value)
    encodings = set(_encodings(value))
    assert {value, quote(value, safe=""), base64.b64encode(value.encode()).decode()} <= encodings
    for encoding in encodings:
        assert masker.pending_suffix(f"\0{encoding[:-1]}") == len(encoding) - 1


def test_other_suffixes_are_not_pending(masker: Masker):
    assert masker.pending_suffix("nothing of the kind") == 0
    assert masker.pending_suffix("") == 0
    assert masker.pending_suffix(f"it is {CANARY[:5]}") == 5


def test_a_value_that_is_too_short_is_rejected(masker: Masker):
    with pytest.raises(ValueError, match="is shorter than 4 characters"):
        masker.add_secret("abc")

    assert masker.mask("abc") == "abc"


def test_headers_with_credentials_are_masked_in_any_case():
    headers = {"Authorization": "x", "set-cookie": "y", "X-API-Key": "z", "Date": "today"}

    assert masked_headers(headers) == {
        "Authorization": MASK,
        "set-cookie": MASK,
        "X-API-Key": MASK,
        "Date": "today",
    }


# Long texts


def _secret(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_two_hundred_secrets_cost_about_as_much_as_twenty():
    """One pass finds all secrets; 50 passes over 10 MB took 19 s."""
    text = base64.b64encode(random.Random(1).randbytes(1_500_000)).decode()

    def seconds(count: int) -> float:
        masker = Masker()
        for number in range(count):
            masker.add_secret(_secret(number))
        masker.mask("compiled")
        return min(
            timeit.repeat(lambda: masker.mask(text), timer=time.thread_time, number=1, repeat=5)
        )

    assert seconds(200) < 5 * seconds(20)


@pytest.mark.parametrize("shift", range(-9, 3))
def test_a_secret_across_two_chunks_is_masked(monkeypatch: pytest.MonkeyPatch, shift: int):
    monkeypatch.setattr("tasks.masking._CHUNK_CHARS", 64)
    masker = Masker()
    masker.add_secret("t0k3n-xy")
    before = "." * (64 + shift)
    assert masker.mask(f"{before}t0k3n-xy{before}t0k3n-xy!") == f"{before}***{before}***!"
    assert masker.mask_truncated(f"{before}t0k3n-xy, t0k3n-x") == f"{before}***, t0k3n-x"


@examples(300)
@given(st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=4), st.text("ab"))
def test_no_secret_is_left_in_a_masked_text(secrets: list[str], text: str):
    masker = Masker()
    for secret in secrets:
        masker.add_literal(secret)
    masked = masker.mask(text)
    assert not any(secret in masked for secret in secrets)
    assert not masker.contains(masked)
    if not any(secret in text for secret in secrets):
        assert masked == text


def test_masking_stops_when_its_node_is_stopped(masker: Masker):
    stop = threading.Event()
    use_stop_event(stop)
    try:
        masker.mask("x" * 1_000_000)
        stop.set()
        with pytest.raises(WorkStoppedError):
            masker.mask("x" * 1_000_000)
        with pytest.raises(WorkStoppedError):
            masker.contains_json(base64.encodebytes(b"x" * 1_000_000).decode())
    finally:
        use_stop_event(threading.Event())


def test_a_secret_next_to_a_lone_surrogate_is_masked(masker: Masker):
    assert masker.mask(f"\ud83d {CANARY} \udc00") == "\ud83d *** \udc00"


def test_a_literal_is_masked_without_its_other_encodings():
    masker = Masker()
    masker.add_literal(":test@")
    assert (
        masker.mask("a test of postgresql://app:test@db/x") == "a test of postgresql://app***db/x"
    )
