"""Execution tokens: their claims, and which of them are valid."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from api.auth.tokens import Tokens

NOW = datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC)
SECRET = "a secret for tests, of 32 bytes and more"
TOKENS = Tokens(SECRET, 60, lambda: NOW)
WHOLE = NOW.replace(microsecond=0)
CLAIMS = {"sub": "e1", "scope": "read", "exp": WHOLE + timedelta(seconds=60)}


def at(moment: datetime, secret: str = SECRET) -> Tokens:
    return Tokens(secret, 60, lambda: moment)


def test_a_token_contains_its_execution_and_expiration():
    text, said = TOKENS.issue("e1")
    assert jwt.get_unverified_header(text)["alg"] == "HS256"
    claims = jwt.decode(text, options={"verify_signature": False})
    end = int(WHOLE.timestamp()) + 60
    assert claims == {"sub": "e1", "scope": "read", "iat": end - 60, "exp": end}
    assert TOKENS.read(text) == said
    assert said.execution_id == "e1"


def test_a_token_is_valid_until_it_expires_at_every_service_with_the_secret():
    text, said = TOKENS.issue("e1")
    assert at(said.expires_at - timedelta(milliseconds=1)).read(text) == said
    assert at(said.expires_at).read(text) is None
    assert at(NOW, "another secret, of 32 bytes and more too").read(text) is None


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned() -> str:
    body = {**CLAIMS, "exp": int(CLAIMS["exp"].timestamp())}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(body)}."


def tampered() -> str:
    head, _, signature = TOKENS.issue("e1")[0].split(".")
    return f"{head}.{part({'sub': 'e2', 'scope': 'read', 'exp': 2_000_000_000})}.{signature}"


def signed(**claims: object) -> str:
    body = {key: value for key, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(body, SECRET, "HS256")


BAD = {
    "unsigned": unsigned(),
    "tampered": tampered(),
    "another algorithm": jwt.encode(CLAIMS, SECRET * 2, "HS512"),
    "that algorithm, our secret": jwt.encode(CLAIMS, SECRET + "x" * 24, "HS512"),
    "no execution": signed(sub=None),
    "no end": signed(exp=None),
    "no scope": signed(scope=None),
    "another scope": signed(scope="admin"),
    "an invalid expiration": signed(exp=float("1e300")),
    "no token": "a.b.c",
    "nothing": "",
}


@pytest.mark.parametrize("text", list(BAD.values()), ids=list(BAD))
def test_an_invalid_token_is_rejected(text: str):
    assert TOKENS.read(signed()) is not None
    assert TOKENS.read(text) is None
