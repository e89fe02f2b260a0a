"""Masking of credential headers: the one list of headers that prove the identity of a sender.

Logs, results of ``http`` nodes, redirects and stored webhook data all use this list, so that a
header that one of them hides is hidden by the others too.
"""

import re
from collections.abc import Mapping

MASK = "***"

_NAMES = frozenset(
    {
        "authentication-info",
        "cookie",
        "cookie2",
        "dpop",
        "paypal-transmission-sig",
        "proxy-authenticate",
        "proxy-authentication-info",
        "set-cookie",
        "set-cookie2",
        "www-authenticate",
        "x-amzn-oidc-data",
        "x-forwarded-client-cert",
    }
)

_WORDS = (
    r"auth|authori[sz]ation|cookies?|credentials?|csrf|hmac|jwt|otp|passphrase|passw(?:or)?d|"
    r"pwd|secrets?|session|sessionid|sig|signature|xsrf|"
    r"\w*(?:apikey|accesskey|secretkey|authkey)"
)
"""Words that make a header a credential wherever they occur between the dashes of its name."""

_KEY_OWNERS = (
    "access|account|admin|app|application|auth|client|consumer|customer|encryption|functions|"
    "license|master|private|secret|service|session|signing|subscription|user"
)
"""Words that make a key a credential. ``Idempotency-Key`` and ``Surrogate-Key`` are not."""

_PATTERN = re.compile(
    rf"(?:^|-)(?:{_WORDS}|\w*api-key|(?:{_KEY_OWNERS})-key|"
    # The token of a next page is a position in a list, and workflows read it from the response.
    r"(?<!page-)(?<!next-)(?<!continuation-)(?<!cursor-)(?<!sync-)\w*token)(?:-|$)"
)

_MAX_NAME_CHARACTERS = 200
"""Maximum length of a name that the pattern reads; the longest known names have 50 characters."""


def is_credential_header(name: str) -> bool:
    """Return whether the value of the header ``name`` is a credential, whatever the value is.

    Upper and lower case are equal, and so are ``_`` and ``-``.
    """
    plain = name.strip().lower().replace("_", "-")[:_MAX_NAME_CHARACTERS]
    return plain in _NAMES or _PATTERN.search(plain) is not None


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return ``headers`` with a mask for the value of every credential header."""
    return {name: MASK if is_credential_header(name) else value for name, value in headers.items()}
