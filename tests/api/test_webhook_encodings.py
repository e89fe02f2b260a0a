"""Encodings of deliveries: charsets, content codings, and lone surrogates."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.support.responsiveness import Delays, bystander, watch
from tests.support.service import RunningService, wait_until
from tests.support.webhook_calls import SECRET, count, hook, post, received, signed

FORM = "application/x-www-form-urlencoded"
HALF = "hi \N{REPLACEMENT CHARACTER}"
MAX_BYTES = 1024 * 1024
PACKED = gzip.compress(b'{"a": 1}', mtime=0)
MARK = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def running(service: RunningService) -> RunningService:
    service.save(hook())
    return service


def send(service: RunningService, content_type: str | None, content: bytes, **headers: str):
    given = {} if content_type is None else {"Content-Type": content_type}
    return service.http.post("/api/webhook/w", content=content, headers={**given, **headers})


def refused(service: RunningService, response: httpx.Response, code: str, said: str) -> None:
    assert response.status_code == 422, response.text
    assert [error["code"] for error in response.json()["errors"]] == [code]
    assert said in response.json()["detail"]
    assert count(service) == 0


# Charsets


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        (f"{FORM}; charset=ISO-8859-1", b"city=K%F6ln&zip=1", {"city": "Köln", "zip": "1"}),
        (f'{FORM};charset="iso-8859-1"', b"city=K\xf6ln", {"city": "Köln"}),
        (f"{FORM}; charset=shift_jis", b"a=%93%FA", {"a": "日"}),
        (f"{FORM}; charset=utf-16le", "a=%C3%B6".encode("utf-16le"), {"a": "ö"}),
        (f"{FORM}; charset=UTF-8", b"a=1;b=2&&c", {"a": "1;b=2", "c": ""}),
        ("text/plain; charset=windows-1251", "Привет".encode("cp1251"), "Привет"),
        ("application/xml; charset=latin1", b"<\xf6/>", "<ö/>"),
        ("text/csv; charset=utf-8", b"\xff", {"encoding": "base64", "data": "/w=="}),
        ("application/octet-stream; charset=binary", b"a", {"encoding": "base64", "data": "YQ=="}),
    ],
)
def test_a_body_is_read_in_the_charset_that_it_names(
    running: RunningService, content_type: str, content: bytes, expected: Any
):
    assert received(running, send(running, content_type, content))["body"] == expected


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16le", "gb18030"])
def test_json_is_read_in_the_charset_that_it_names(running: RunningService, charset: str):
    body = json.dumps({"city": "Köln"}, ensure_ascii=False).encode(charset)
    response = send(running, f"application/json; charset={charset}", body)
    assert received(running, response) == {"city": "Köln"}


def test_each_part_of_a_form_may_name_its_charset(running: RunningService):
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xf6\r\n'
        b'--b\r\nContent-Disposition: form-data; name="b"\r\n'
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xb6\r\n"
        b'--b\r\nContent-Disposition: form-data; name="c"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n9g==\r\n--b--\r\n"
    )
    response = send(running, "multipart/form-data; boundary=b; charset=latin1", parts)
    assert received(running, response)["body"] == {"a": "ö", "b": "ö", "c": "ö"}


@pytest.mark.parametrize(
    "content_type",
    [
        f"{FORM}; charset=punycode",
        "multipart/form-data; boundary=b; charset=punycode",
        "text/plain; charset=utf-7",
        "application/json; charset=idna",
        "application/xml; charset=zip",
        "text/plain; charset=unicode_escape",
    ],
)
def test_a_charset_that_browsers_do_not_support_is_rejected_by_name(
    running: RunningService, content_type: str
):
    label = content_type.rpartition("=")[2]
    refused(running, send(running, content_type, b"a=1"), "unknown_charset", f"'{label}'")


def test_an_invalid_charset_of_a_part_is_rejected(running: RunningService):
    part = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n'
        b"Content-Type: text/plain; charset=punycode\r\n\r\na\r\n--b--\r\n"
    )
    response = send(running, "multipart/form-data; boundary=b", part)
    refused(running, response, "unknown_charset", "'punycode'")


def test_a_form_field_that_is_not_in_its_charset_is_named(running: RunningService):
    refused(running, send(running, FORM, b"a=1&city=K%F6ln"), "invalid_form", "'city'")


# Hostile bodies


def disposition(name: str) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % name.encode()


HOSTILE = {
    "a charset that takes quadratic time": (
        "multipart/form-data; boundary=b; charset=punycode",
        disposition("a") + b"a-" + b"b9" * 500_000 + b"\r\n--b--\r\n",
    ),
    "many parts": ("multipart/form-data; boundary=b", disposition("a") * 20_000 + b"--b--\r\n"),
    "a header without an end": ("multipart/form-data; boundary=b", b"--b\r\n" + b"a" * 1_000_000),
    "many headers": ("multipart/form-data; boundary=b", b"--b\r\n" + b"a: b\r\n" * 150_000),
    "nearly boundaries": ("multipart/form-data; boundary=b", disposition("a") + b"\r\n-" * 300_000),
    "a boundary that repeats itself": (
        f"multipart/form-data; boundary={'-' * 200}",
        b"-" * 202 + b"\r\n" + (b"\r\n" + b"-" * 201) * 5_000,
    ),
    "a long content type": ("text/plain" + '; a="' * 10_000, b"a"),
    "a field for each byte": (FORM, b"a&" * 500_000),
    "cut off": ("multipart/form-data; boundary=b", disposition("a") + b"text"),
    "a part without a name": ("multipart/form-data; boundary=b", b"--b\r\n\r\na\r\n--b--\r\n"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_body_is_rejected(running: RunningService, what: str):
    content_type, body = HOSTILE[what]
    response = send(running, content_type, body)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) < 1_000
    assert count(running) == 0


@pytest.fixture(scope="module")
def watched(shared_service: RunningService) -> RunningService:
    """A service whose delays are measured; no test reads its executions."""
    shared_service.save(hook())
    return shared_service


@pytest.fixture(scope="module")
def at_rest(watched: RunningService) -> Delays:
    return watch(watched.url)


def test_hostile_bodies_delay_no_other_client(watched: RunningService, at_rest: Delays):
    with bystander(watched.url) as probe:
        for content_type, body in HOSTILE.values():
            assert send(watched, content_type, body).status_code == 422
    probe.delays.assert_close_to(at_rest)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (f"{FORM}; charset=gb18030", b"a=" + b"%81%30%81%30" * 80_000),
        ("application/json", b"[" + b'"\\u0061",' * 110_000 + b"1]"),
        ("application/json", b"[" + b"[]," * 340_000 + b"1]"),
        ("text/plain; charset=windows-1255", b"\xff" * 1_000_000),
    ],
)
def test_a_body_that_takes_long_to_read_delays_no_other_request(
    watched: RunningService, at_rest: Delays, content_type: str, body: bytes
):
    with bystander(watched.url) as probe:
        assert send(watched, content_type, body).status_code == 200
    probe.delays.assert_requests_close_to(at_rest)


def test_the_limits_of_forms_are_settings(tmp_path: Any):
    with RunningService(tmp_path, max_webhook_form_fields=2) as service:
        service.save(hook())
        assert send(service, FORM, b"a=1&b=2").status_code == 200
        response = send(service, FORM, b"a=1&b=2&c=3")
        assert (response.status_code, "MAX_WEBHOOK_FORM_FIELDS" in response.text) == (422, True)
        files = dict.fromkeys("abc", ("f", b"x"))
        response = service.http.post("/api/webhook/w", files=files)
        assert (response.status_code, "MAX_WEBHOOK_FORM_FIELDS" in response.text) == (422, True)


# Content codings


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
def test_a_gzip_body_is_unpacked(running: RunningService, coding: str):
    body = gzip.compress(b'{"a": ') + gzip.compress(b"1}") + b"\0\0"  # two members, padded
    headers = {"Content-Encoding": coding}
    assert received(running, send(running, "application/json", body, **headers)) == {"a": 1}


@pytest.mark.parametrize("coding", ["", "identity", "none", "utf-8"])
def test_a_body_that_is_not_coded_is_read(running: RunningService, coding: str):
    response = send(running, "application/json", b'{"a": 1}', **{"Content-Encoding": coding})
    assert received(running, response) == {"a": 1}


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "aes128gcm", "x" * 500])
def test_another_content_coding_is_a_415_that_names_the_known_ones(
    running: RunningService, coding: str
):
    response = send(running, "application/json", b"{}", **{"Content-Encoding": coding})
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip, identity")
    assert coding[:80] in response.json()["detail"]
    assert "gzip and identity" in response.json()["detail"]
    assert count(running) == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1}', "not valid gzip"),
        (PACKED[:-4], "is truncated"),
        (PACKED + b"more", "not valid gzip"),
        (PACKED[:-8] + b"\0" * 8, "not valid gzip"),
    ],
)
def test_a_broken_gzip_body_is_rejected(running: RunningService, body: bytes, said: str):
    response = send(running, "application/json", body, **{"Content-Encoding": "gzip"})
    refused(running, response, "invalid_content_encoding", said)


@pytest.mark.parametrize("members", [1, 10_000])
def test_a_small_body_does_not_become_a_large_one(running: RunningService, members: int):
    bomb = gzip.compress(b"a" * (200 * MAX_BYTES // members)) * members
    headers = {"Content-Encoding": "gzip"}
    response = send(running, "text/plain", bomb, **headers)
    assert (response.status_code, "MAX_WEBHOOK_BODY_BYTES" in response.text) == (413, True)
    assert count(running) == 0


def test_the_signature_is_over_the_bytes_as_sent(service: RunningService):
    service.save(hook(webhookSecret=SECRET))
    body = PACKED
    headers = {**signed(body), "Content-Encoding": "gzip"}
    assert received(service, post(service, content=body, headers=headers)) == {"a": 1}
    plain = {**signed(b'{"a": 1}', message="msg_2"), "Content-Encoding": "gzip"}
    assert post(service, content=body, headers=plain).status_code == 401


# Lone surrogates


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (rb'{"id":5,"text":"hi \ud83d"}', {"id": 5, "text": HALF}),
        (
            rb'{"\ude00": ["hi \uD83D", "\\ud83d"]}',
            {MARK: [HALF, "\\ud83d"]},
        ),
        (rb'{"a": "\ud83d\ude00"}', {"a": "\N{GRINNING FACE}"}),
        (rb'{"a": "\ude00\ud83d"}', {"a": MARK * 2}),
    ],
)
def test_half_a_surrogate_pair_becomes_the_replacement_character(
    running: RunningService, content: bytes, expected: Any
):
    assert received(running, send(running, "application/json", content)) == expected


def test_half_a_surrogate_pair_is_accepted_wherever_a_body_is_json(running: RunningService):
    half = '"hi \\ud83d"'
    json_type = {"Content-Type": "application/json"}

    def call(method: str, path: str, text: str) -> httpx.Response:
        response = running.http.request(method, path, content=text.encode(), headers=json_type)
        assert response.status_code in (200, 201), response.text
        return response

    body = f'{{"workflowId": "w", "inputs": {{"hook": {half}}}}}'
    execution = call("POST", "/api/workflows/execute", body).json()["executionId"]
    assert running.ended(execution)["finalOutput"] == HALF

    document = (
        f'{{"nodes": [{{"id": "a", "type": "approval", "label": {half}}}], "connections": []}}'
    )
    call("POST", "/api/workflows", f'{{"id": "v", "name": {half}, "data": {document}}}')
    saved = call("PUT", "/api/workflows/v", f'{{"name": {half}, "data": {document}}}').json()
    assert (saved["name"], saved["data"]["nodes"][0]["label"]) == (HALF, HALF)

    execution = call("POST", "/api/workflows/execute", '{"workflowId": "v"}').json()["executionId"]
    wait_until(lambda: running.poll(execution)["status"] == "waiting")
    resume = f"/api/executions/{execution}/nodes/a/resume"
    call("POST", resume, f'{{"data": {{"note": {half}}}}}')
    assert HALF in json.dumps(running.ended(execution)["finalOutput"], ensure_ascii=False)

    trial = f"""{{"workflowId": "w", "nodeId": "n", "nodeType": "output", "inputData": {half},
                 "node": {{"id": "n", "type": "output", "config": {{}}}}}}"""
    assert call("POST", "/api/nodes/execute", trial).json()["output"]["outputData"] == HALF


def test_a_saved_document_of_another_program_may_hold_half_a_pair(service: RunningService):
    service.save(json.dumps(hook()).replace('"label": "hook"', '"label": "hi \\ud83d"'))
    assert post(service, {}).status_code == 200
