"""Webhook signatures: verifies deliveries in the schemes of common senders.

| scheme | headers | signed |
| --- | --- | --- |
| `standard` | ``webhook-id``, ``webhook-timestamp``, ``webhook-signature`` | id, timestamp, body |
| `github` | ``x-hub-signature-256`` | body |
| `stripe` | ``stripe-signature`` | timestamp, body |
| `slack` | ``x-slack-signature``, ``x-slack-request-timestamp`` | timestamp, body |

Sources: https://www.standardwebhooks.com,
https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries,
https://docs.stripe.com/webhooks/signature, https://api.slack.com/authentication/verifying-requests-from-slack
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import sha256

from engine.json_values import JsonValue, is_object
from engine.request_errors import SignatureError

TIMESTAMP_TOLERANCE_SECONDS = 300
"""Maximum difference between a signed timestamp and now, in seconds."""

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
GITHUB_ID = "x-github-delivery"
GITHUB_SIGNATURE = "x-hub-signature-256"
STRIPE_SIGNATURE = "stripe-signature"
SLACK_SIGNATURE = "x-slack-signature"
SLACK_TIMESTAMP = "x-slack-request-timestamp"

_PREFIX = "whsec_"
_NAMED = re.compile(r"\s*\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\s*")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class SignatureScheme(StrEnum):
    """Signature scheme of a sender."""

    STANDARD = "standard"
    """Standard Webhooks; the secret is base64."""
    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"


_ID_IN_BODY = {SignatureScheme.STRIPE: "id", SignatureScheme.SLACK: "event_id"}
_ID_IN_HEADER = {SignatureScheme.STANDARD: ID, SignatureScheme.GITHUB: GITHUB_ID}


def check_token(text: str | None) -> str | None:
    """Return ``text`` without surrounding spaces, or raise a ``ValueError`` for a slash."""
    if text is not None and "/" in text:
        raise ValueError("should not contain a slash, because it is the last part of an address")
    return None if text is None else text.strip()


def check_secret(text: str, scheme: SignatureScheme = SignatureScheme.STANDARD) -> str:
    """Return ``text``, if it is a valid secret of this scheme or names one.

    Otherwise a ``ValueError`` is raised, which does not contain the secret.
    """
    if secret_name_of(text) is None:
        _key(text, scheme)
    return text


def is_valid_key(text: str, scheme: SignatureScheme = SignatureScheme.STANDARD) -> bool:
    """Return whether ``text`` is a valid key of this scheme."""
    try:
        _key(text, scheme)
    except ValueError:
        return False
    return True


def secret_name_of(text: str) -> str | None:
    """Return the name if ``text`` is ``{{ secrets.NAME }}``, or ``None`` for a literal secret."""
    match = _NAMED.fullmatch(text)
    return None if match is None else match[1]


def verify(
    scheme: SignatureScheme, secret: str, body: bytes, headers: Mapping[str, str], now: float
) -> None:
    """Verify the signature of ``body`` in constant time.

    ``body`` has the bytes as they were sent, with their ``Content-Encoding``. The names of
    ``headers`` are in lower case. ``now`` is in seconds since 1970.

    Raises:
        SignatureError: If a header is missing, the timestamp is more than five minutes off, or no
            signature is valid.
    """
    key = _key(secret, scheme)
    if scheme == SignatureScheme.GITHUB:
        _require(headers, GITHUB_SIGNATURE)
        given = [headers[GITHUB_SIGNATURE].strip()]
        _compare(given, f"sha256={_hex(key, body)}", f"{GITHUB_SIGNATURE} is not valid")
    elif scheme == SignatureScheme.STRIPE:
        _verify_stripe(key, body, headers, now)
    elif scheme == SignatureScheme.SLACK:
        _require(headers, SLACK_SIGNATURE, SLACK_TIMESTAMP)
        timestamp = _signed_timestamp(headers[SLACK_TIMESTAMP], SLACK_TIMESTAMP, now)
        expected = f"v0={_hex(key, b'v0:' + timestamp + b':' + body)}"
        _compare([headers[SLACK_SIGNATURE].strip()], expected, f"{SLACK_SIGNATURE} is not valid")
    else:
        _verify_standard(key, body, headers, now)


def delivery_id(
    scheme: SignatureScheme, headers: Mapping[str, str], payload: JsonValue
) -> str | None:
    """Return the delivery id, which a sender repeats when it retries a delivery, or ``None``."""
    header = _ID_IN_HEADER.get(scheme)
    if header is not None:
        return headers.get(header)
    delivery = payload.get(_ID_IN_BODY[scheme]) if is_object(payload) else None
    return delivery if isinstance(delivery, str) else None


def has_id_in_body(scheme: SignatureScheme) -> bool:
    """Return whether ``delivery_id`` needs the payload."""
    return scheme in _ID_IN_BODY


def _verify_standard(key: bytes, body: bytes, headers: Mapping[str, str], now: float) -> None:
    _require(headers, ID, TIMESTAMP, SIGNATURE)
    timestamp = _signed_timestamp(headers[TIMESTAMP], TIMESTAMP, now)
    signed = headers[ID].encode("latin-1", "replace") + b"." + timestamp + b"." + body
    expected = b64encode(hmac.new(key, signed, sha256).digest()).decode()
    versioned = [item.partition(",") for item in headers[SIGNATURE].split()]
    given = [signature for version, _, signature in versioned if version == "v1"]
    _compare(given, expected, f"no signature of version v1 in {SIGNATURE} is valid")


def _verify_stripe(key: bytes, body: bytes, headers: Mapping[str, str], now: float) -> None:
    _require(headers, STRIPE_SIGNATURE)
    items = [item.strip().partition("=") for item in headers[STRIPE_SIGNATURE].split(",")]
    timestamp = next((value for name, _, value in items if name == "t"), "")
    signed = _signed_timestamp(timestamp, f"t in {STRIPE_SIGNATURE}", now) + b"." + body
    given = [value for name, _, value in items if name == "v1"]
    _compare(given, _hex(key, signed), f"no signature v1 in {STRIPE_SIGNATURE} is valid")


def _require(headers: Mapping[str, str], *names: str) -> None:
    missing = [name for name in names if not headers.get(name)]
    if missing:
        raise SignatureError(f"the delivery has no {' and no '.join(missing)}")


def _signed_timestamp(text: str, name: str, now: float) -> bytes:
    """Return the bytes of a signed timestamp, or raise if it differs too much from ``now``."""
    if not _TIMESTAMP.fullmatch(text):
        raise SignatureError(f"{name} should be seconds since 1970")
    if abs(int(text) - now) > TIMESTAMP_TOLERANCE_SECONDS:
        raise SignatureError(f"{name} is more than five minutes off")
    return text.encode()


def _hex(key: bytes, signed: bytes) -> str:
    return hmac.new(key, signed, sha256).hexdigest()


def _compare(given: Iterable[str], expected: str, reason: str) -> None:
    is_valid = False
    for signature in given:
        same = hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode())
        is_valid = same or is_valid
    if not is_valid:
        raise SignatureError(reason)


def _key(text: str, scheme: SignatureScheme) -> bytes:
    if scheme != SignatureScheme.STANDARD:
        secret = text.strip()
        if not secret or "{{" in secret:
            raise ValueError("should be the secret that the sender shows, or {{ secrets.NAME }}")
        return secret.encode()
    encoded = text.strip().removeprefix(_PREFIX).rstrip("=")
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(
            f"should be base64, with or without the prefix {_PREFIX}, or {{{{ secrets.NAME }}}}"
        )
    return key
