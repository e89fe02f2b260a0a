"""Signatures of deliveries, after Standard Webhooks (https://www.standardwebhooks.com)."""

import re
from base64 import b64decode
from collections.abc import Mapping

from standardwebhooks import Webhook, WebhookVerificationError

from engine.errors import SignatureError

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"

_PREFIX = "whsec_"
_NAMED = re.compile(r"\s*\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\s*")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_KNOWN_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]+={0,2}", re.ASCII)


def usable_token(text: str | None) -> str | None:
    """``text``, trimmed, if it can be the last part of an address.

    Raises:
        ValueError: it cannot.
    """
    if text is not None and "/" in text:
        raise ValueError("should have no slash in it: it is the last part of an address")
    return None if text is None else text.strip()


def usable_secret(text: str | None) -> str | None:
    """``text``, if deliveries can be checked with it.

    Raises:
        ValueError: they cannot; the message does not hold the secret.
    """
    if text is not None and named_secret(text) is None:
        _key(text)
    return text


def is_key(text: str) -> bool:
    """Whether signatures can be made with ``text``."""
    try:
        _key(text)
    except ValueError:
        return False
    return True


def named_secret(text: str) -> str | None:
    """The name where ``text`` is ``{{ secrets.NAME }}``; else it is the secret itself."""
    found = _NAMED.fullmatch(text)
    return None if found is None else found[1]


def verify(secret: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Checks who sent ``body``, and that it was sent just now; in constant time.

    ``headers`` are by names in lower case.

    Raises:
        SignatureError: a header is missing, the time is more than five minutes off, or no signature
            of version ``v1`` fits.
    """
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        raise SignatureError(f"the delivery has no {' and no '.join(missing)}")
    if not _TIMESTAMP.fullmatch(headers[TIMESTAMP]):
        raise SignatureError(f"{TIMESTAMP} should be seconds since 1970")
    # The library breaks off at a signature that it cannot read; another one may fit.
    given = headers[SIGNATURE].split()
    known = [signature for signature in given if _KNOWN_SIGNATURE.fullmatch(signature)]
    sent = {
        ID: headers[ID],
        TIMESTAMP: headers[TIMESTAMP],
        SIGNATURE: " ".join(known) or "v1,",
    }
    try:
        Webhook(_key(secret)).verify(body, sent, json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureError(_plain(str(error))) from None
    except UnicodeDecodeError:
        raise SignatureError("a signed body should be UTF-8") from None
    except ValueError:  # a signature with half a byte in it
        raise SignatureError(_plain("")) from None


def _plain(reason: str) -> str:
    if "timestamp" in reason:
        return f"{TIMESTAMP} is more than five minutes off"
    return f"no signature of version v1 in {SIGNATURE} fits"


def _key(text: str) -> bytes:
    encoded = text.strip().removeprefix(_PREFIX).rstrip("=")
    try:
        key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(
            f"should be base64, with or without {_PREFIX} before it, or {{{{ secrets.NAME }}}}"
        )
    return key
