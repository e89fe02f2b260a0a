"""Secrets in every spelling are masked, and nothing else is."""

import base64
import html
import json
import re
import tracemalloc
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import NodeError, TemplateError
from engine.masking import MASK, masked_headers
from flows.nodes.result import checked_result, redact_error
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.masking import Masker, secret_masker
from tasks.secrets import Secrets
from tasks.templating.render import refusals, render

ESCAPED = 'quoted"and\\back'
CANARY = 'c4n4ry/+ "quoted" ü\\&%'


@pytest.fixture
def masker() -> Masker:
    made = Masker()
    made.learn(CANARY)
    return made


@pytest.mark.parametrize(
    "spelling",
    [
        CANARY,
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        json.dumps(json.dumps({"a": CANARY})),
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
        repr(CANARY),
        html.escape(CANARY),
        CANARY.upper(),
        CANARY.lower(),
        CANARY.encode().hex(),
        CANARY.encode().hex().upper(),
        f"user:{CANARY}".encode().hex(),
    ],
)
def test_every_spelling_is_masked(masker: Masker, spelling: str):
    masked = masker.text(f"before {spelling} after")

    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "c4n4ry" not in masked.lower()
    assert "quoted" not in masked.lower()


@settings(max_examples=200, database=None)
@given(st.text(min_size=8, max_size=30), st.text(max_size=8), st.text(max_size=8))
def test_basic_authentication_never_shows_a_secret(secret: str, user: str, after: str):
    masker = Masker()
    masker.learn(secret)
    encoded = base64.b64encode(f"{user}:{secret}{after}".encode()).decode()

    assert MASK in masker.text(encoded)


def _in_lines(columns: int, line_end: str, encoded: str) -> str:
    lines = [encoded[at : at + columns] for at in range(0, len(encoded), columns)]
    return line_end.join(lines)


BROKEN: dict[str, Callable[[bytes], str]] = {
    "as Python does, for MIME": lambda raw: base64.encodebytes(raw).decode(),
    "as in PEM": lambda raw: _in_lines(64, "\n", base64.b64encode(raw).decode()),
    "as on Windows": lambda raw: _in_lines(76, "\r\n", base64.b64encode(raw).decode()),
    "as Ruby does": lambda raw: _in_lines(60, "\n", base64.b64encode(raw).decode()),
    "indented": lambda raw: _in_lines(64, "\n    ", base64.b64encode(raw).decode()),
    "in JSON": lambda raw: json.dumps({"a": base64.encodebytes(raw).decode()}),
    "in JSON in JSON": lambda raw: json.dumps(json.dumps([base64.encodebytes(raw).decode()])),
    "behind a line, in JSON": lambda raw: json.dumps(f"BEGIN\n{base64.encodebytes(raw).decode()}"),
    "hex, as xxd does": lambda raw: _in_lines(60, "\n", raw.hex()),
}


def _letters(text: str) -> int:
    return sum(c.isalnum() or c in "+/" for c in re.sub(r"\\+n", "", text))


@pytest.mark.parametrize("way", BROKEN)
@pytest.mark.parametrize("length", [8, 24, 100, 4_096])
def test_what_is_broken_into_lines_is_masked_wherever_it_breaks(way: str, length: int):
    secret = ("c4n4ry-" + "sings/in+the mine " * 300)[:length]
    masker = Masker()
    masker.learn(secret)
    for before in range(0, 80, 1 if length < 1_000 else 13):
        text = f"before\n{BROKEN[way](b'x' * before + secret.encode() + b' more of it' * 9)}\nafter"
        masked = masker.text(text)
        assert masked.startswith("before\n")
        assert masked.endswith("after")
        assert MASK in masked, before
        # Of its letters none is left but those that it shares with what lies around it.
        gone = _letters(text) - _letters(masked)
        assert gone >= len(secret) * (24 if "hex" in way else 16) // 12 - 2, before
        assert masker.holds_json(json.dumps(text))


@pytest.mark.parametrize("way", BROKEN)
def test_what_has_no_secret_in_it_stays_in_its_lines(masker: Masker, way: str):
    text = f"before\n{BROKEN[way](bytes(range(256)) * 4)}\nafter"
    assert masker.text(text) == text
    assert not masker.holds_json(json.dumps(text))


def test_a_blank_around_a_secret_is_no_secret():
    masker = Masker()
    masker.learn("    x    ")
    assert masker.text("20 20 2020 nothing") == "20 20 2020 nothing"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "A" * 2_000_000,
        ("A" * 76 + "\n") * 26_000,
        ("A" * 76 + "\n\n") * 26_000,
        "\\" * 2_000_000,
        ("A" * 60 + "\\" * 60) * 16_000,
        ("A" * 60 + "\n" + " " * 60) * 16_000,
    ],
    ids=["one line", "lines", "blank lines", "backslashes", "escapes", "indentation"],
)
def test_no_text_holds_it_up(masker: Masker, text: str):
    assert masker.text(text) == text
    assert not masker.holds_json(text)


def test_values_keep_their_shape(masker: Masker):
    masker.learn("12345678")
    value = {"a": [CANARY, 12345678, 1, True, None], CANARY: "fine", "n": 0.5}

    assert masker.value(value) == {"a": [MASK, MASK, 1, True, None], MASK: "fine", "n": 0.5}


def test_an_error_that_was_cut_in_the_middle_of_a_secret_shows_no_beginning_of_it():
    masker = Masker()
    masker.learn("sk-0123456789-abcdefghij")

    assert masker.error("it said: 'sk-0123456789-abc…") == "it said: '***…"
    assert masker.error("it said sk-01234, which is none") == "it said ***, which is none"
    assert masker.error("it said sk-0") == "it said sk-0"


def test_lines_of_a_key_are_secrets_too():
    masker = Masker()
    masker.learn("-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----")

    assert masker.text("> AAAABBBBCCCC") == "> ***"


def test_a_long_key_takes_little_memory():
    """An RSA key of 4096 bits has fifty lines; all beginnings of its spellings were 400 MB."""
    lines = [f"{i:02}" * 32 for i in range(50)]
    assert len("\n".join(lines)) < 4_096
    made = Masker()
    tracemalloc.start()
    try:
        made.learn("\n".join(lines))
        made.learn("k3y" * 1_365)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


@settings(max_examples=200, database=None)
@given(st.lists(st.text("ab/", min_size=4, max_size=8), min_size=1, max_size=3), st.text("ab/"))
def test_of_a_text_in_pieces_the_beginning_of_a_secret_is_kept_back(secrets: list[str], text: str):
    made = Masker()
    for secret in secrets:
        made.learn(secret)

    kept = made.unfinished(text)
    begun = [i for i in range(1, len(text) + 1) if any(s.startswith(text[-i:]) for s in secrets)]
    assert kept >= max(begun, default=0)
    assert kept <= len(text)


def test_what_begins_no_secret_is_not_kept_back(masker: Masker):
    assert masker.unfinished("nothing of the kind") == 0
    assert masker.unfinished("") == 0
    assert masker.unfinished(f"it is {CANARY[:5]}") == 5


def test_what_is_too_short_is_not_taken(masker: Masker):
    with pytest.raises(ValueError, match="is shorter than 4 characters"):
        masker.learn("abc")

    assert masker.text("abc") == "abc"


def test_headers_with_credentials_are_masked_in_any_case():
    headers = {"Authorization": "x", "set-cookie": "y", "X-API-Key": "z", "Date": "today"}

    assert masked_headers(headers) == {
        "Authorization": MASK,
        "set-cookie": MASK,
        "X-API-Key": MASK,
        "Date": "today",
    }


# In templates and in what handlers give


@pytest.fixture
def _with_a_secret() -> Any:
    secrets = Secrets({"TOKEN": "t0k3n-of-the-test"})
    enter_node_run(NodeRun(HandlerSettings(secrets=secrets)))
    yield
    enter_node_run(NodeRun())


@pytest.mark.usefixtures("_with_a_secret")
def test_a_secret_stands_in_a_template_and_no_input_takes_its_place():
    sly = {"secrets": {"TOKEN": "mine"}, "secrets.TOKEN": "mine"}

    assert render("Bearer {{ secrets.TOKEN }}", sly) == "Bearer t0k3n-of-the-test"
    assert render("{{ secrets['TOKEN'] | upper }}", sly) == "T0K3N-OF-THE-TEST"
    assert render("{{ secrets.GONE | default('none') }}", sly) == "none"
    assert render("{{ input.secrets.TOKEN }}", sly) == "mine"


@pytest.mark.usefixtures("_with_a_secret")
def test_a_missing_secret_says_how_to_set_it():
    with pytest.raises(TemplateError, match=r"no secret 'GONE': set SECRET_GONE in .*SECRETS_FILE"):
        render("{{ secrets.GONE }}", None)


@pytest.mark.parametrize(
    "expression", ["secrets", "secrets | json", "secrets.A.B", "secrets['a b']", "secrets.a-b"]
)
def test_there_is_no_way_to_all_secrets_or_into_one(expression: str):
    ((_, reason),) = refusals(f"{{{{ {expression} }}}}")

    assert "there is secrets.NAME only" in reason


@pytest.mark.usefixtures("_with_a_secret")
def test_results_are_masked_before_anybody_has_them():
    result = checked_result(
        {"outputData": {"echo": "t0k3n-of-the-test!"}, "message": "t0k3n-of-the-test"}
    )

    assert result.result == {"outputData": {"echo": "***!"}, "message": "***"}
    assert "t0k3n" not in f"{result.output_data}{result.detail}"


@pytest.mark.usefixtures("_with_a_secret")
@pytest.mark.parametrize(
    "spelt",
    [
        json.dumps,
        lambda text: json.dumps(json.dumps(text)),
        lambda text: json.dumps(json.dumps(json.dumps(text))),
        repr,
        html.escape,
        lambda text: html.escape(json.dumps(text)),
        lambda text: html.escape(text).replace("&quot;", "&#34;"),
        lambda text: quote(json.dumps({"k": text})),
        lambda text: base64.b64encode(json.dumps({"k": text}).encode()).decode(),
    ],
)
@pytest.mark.usefixtures("_with_a_secret")
def test_a_secret_that_json_escapes_is_masked_in_results_too(spelt: Callable[[str], str]):
    """A result is looked through as JSON text, in which it is escaped once more."""
    secret_masker.learn(ESCAPED)

    for result in ({"outputData": {"t": spelt(ESCAPED)}}, {"message": spelt(ESCAPED)}):
        masked = checked_result(result).result
        told = masked["outputData"] or masked
        assert "***" in json.dumps(told)
        assert "quoted" not in json.dumps(told)


@pytest.mark.usefixtures("_with_a_secret")
def test_errors_are_told_without_it_and_with_all_else():
    told = redact_error(NodeError("no: t0k3n-of-the-test", retryable=False, retry_after=3))
    assert isinstance(told, NodeError)
    assert (str(told), told.retryable, told.retry_after) == ("no: ***", False, 3)
    assert str(redact_error(ValueError("t0k3n-of-the-test"))) == "ValueError: ***"
    harmless = ValueError("fine")
    assert redact_error(harmless) is harmless


async def test_what_the_settings_do_not_have_is_looked_up_elsewhere():
    asked: list[str] = []
    blocks: dict[str, str] = {"DEEP": "value-from-a-block"}

    async def fetch(name: str) -> str | None:
        asked.append(name)
        return blocks.get(name)

    secrets = Secrets({"HERE": "value-of-settings"}, fetch)
    config = {
        "a": ["{{ secrets.HERE }} {{ secrets.DEEP }}", {"b": "{{ secrets['GONE'] | upper }}"}]
    }
    await secrets.prepare(config)

    assert sorted(asked) == ["DEEP", "GONE"]
    assert secrets.get("DEEP") == "value-from-a-block"
    assert checked_result({"outputData": "value-from-a-block"}).output_data == '"***"'
    blocks["DEEP"] = "abc"
    with pytest.raises(NodeError, match="the secret 'DEEP' is shorter than 4") as refused:
        await secrets.prepare(config)
    assert not refused.value.retryable
