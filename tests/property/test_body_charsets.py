"""Webhook bodies in every charset and content coding reach the node unchanged."""

import asyncio
import gzip
import json
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from api.bodies.webhook_payload import Message, WebhookLimits
from charsets import find_charset
from engine.errors import WorkflowServiceError
from engine.json_values import dump_json
from tests.support.generated import examples

OFTEN = examples(200)
LABELS = ("utf-8", "ISO-8859-1", "windows-1251", "shift_jis", "gb18030", "koi8-r", "euc-kr", "big5")
ENCODERS = {"ISO-8859-1": "cp1252", "shift_jis": "cp932", "euc-kr": "cp949", "big5": "big5hkscs"}
MARKS = ("\ufeff", "\ufffe", "\xef\xbb\xbf", "\xff\xfe", "\xfe\xff")
texts = st.text(max_size=30)


def received(body: bytes, **headers: str) -> Any:
    """The payload of a delivery with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    message = Message("POST", named, [], body, WebhookLimits(max_request_body_bytes=100_000))
    return asyncio.run(message.received()).payload


def encoded(text: str, label: str) -> bytes | None:
    """``text`` in a charset, or ``None`` if the charset cannot express it and read it back."""
    charset = find_charset(label)
    assert charset is not None
    try:
        data = text.encode(ENCODERS.get(label, label))
        return data if charset.decode(data) == text else None
    except UnicodeError:
        return None


@OFTEN
@given(st.dictionaries(texts, texts, max_size=4), st.sampled_from(LABELS), st.booleans())
def test_a_form_comes_back_in_every_charset(fields: dict[str, str], label: str, packed: bool):
    pairs = [(encoded(name, label), encoded(value, label)) for name, value in fields.items()]
    if any(name is None or value is None for name, value in pairs):
        return
    body = "&".join(
        f"{quote_from_bytes(name or b'')}={quote_from_bytes(value or b'')}" for name, value in pairs
    ).encode()
    coding = {"content_encoding": "gzip"} if packed else {}
    sent = gzip.compress(body) if packed else body
    kind = f"application/x-www-form-urlencoded; charset={label}"
    assert (received(sent, content_type=kind, **coding)["body"] or {}) == fields


@OFTEN
@given(texts, st.sampled_from(LABELS))
def test_json_and_text_are_decoded_in_every_charset(text: str, label: str):
    body = encoded(json.dumps({"a": text}, ensure_ascii=False), label)
    if body is not None:
        kind = f"application/json; charset={label}"
        assert received(body, content_type=kind) == {"a": text}
    plain = encoded(text, label)
    if plain:
        assert received(plain, content_type=f"text/plain; charset={label}")["body"] == text


kinds = st.sampled_from(
    [
        *("application/json", "text/plain", "application/x-www-form-urlencoded", "", "image/png"),
        *("multipart/form-data; boundary=b", "multipart/form-data"),
    ]
)
parameters = st.sampled_from(["", "; charset=punycode", "; charset=", '; charset="utf-16"', "; a"])
codings = st.sampled_from(["", "gzip", "br", "identity", "utf-8", ",", "gzip,gzip"])
bodies = st.binary(max_size=200) | st.lists(
    st.sampled_from(
        [
            *(
                b"--b",
                b"\r\n",
                b"--",
                b'Content-Disposition: form-data; name="a"',
                b"%",
                b"&",
                b"=",
            ),
            *(
                b'{"a":',
                b'"',
                b"\\ud83d",
                b"}",
                b"[",
                b"]",
                b"\xff",
                b"\x1f\x8b\x08",
                b"_charset_=x",
            ),
            *(b"Content-Type: text/plain; charset=zip", b"Content-Transfer-Encoding: base64", b"a"),
        ]
    ),
    max_size=12,
).map(b"".join)


@OFTEN
@given(bodies, kinds, parameters, codings)
def test_every_body_is_a_payload_that_can_be_stored_or_a_clear_error(
    body: bytes, kind: str, parameter: str, coding: str
):
    try:
        payload = received(body, content_type=kind + parameter, content_encoding=coding)
    except WorkflowServiceError as error:
        payload = {"error": str(error)}
    assert dump_json(payload) != '{"error":""}'
