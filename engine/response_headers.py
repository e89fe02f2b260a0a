"""Response headers of workflows: the kinds of headers that a ``webhookResponse`` node may set.

A response of a workflow has the origin of the API and of its pages, so a header that configures
the browser, the connection or a proxy is not permitted. A header is rejected unless it is listed.
"""

import re

PERMITTED = frozenset(
    {
        "allow",
        "cache-control",
        "content-disposition",
        "content-language",
        "content-type",
        "correlation-id",
        "deprecation",
        "etag",
        "expires",
        "idempotency-key",
        "last-modified",
        "link",
        "location",
        "pragma",
        "ratelimit",
        "ratelimit-limit",
        "ratelimit-policy",
        "ratelimit-remaining",
        "ratelimit-reset",
        "request-id",
        "retry-after",
        "sunset",
        "traceparent",
        "tracestate",
        "vary",
        "webhook-id",
    }
)
"""Names in lower case that describe the content or the request."""

_OWN = r"x(?:-[a-z0-9_-]*)?"
_NOT_OWN = (
    # Protections of browsers.
    r"x-(?:frame-options|content-type-options|xss-protection|download-options|dns-prefetch-control|"
    r"permitted-cross-domain-policies|content-security-policy.*|webkit-csp.*|ua-compatible|"
    # Commands to proxies: they make nginx and others send files of their own.
    r"accel-.*|sendfile.*|lighttpd-.*|litespeed-.*|reproxy-.*|proxy-.*|real-ip|forwarded-.*|"
    # Overrides of the request.
    r"original-url|rewrite-url|http-method.*|method-override)"
)
_PERMITTED = re.compile(f"{'|'.join(sorted(PERMITTED))}|(?!(?:{_NOT_OWN})$){_OWN}", re.ASCII)

EXPLANATION = (
    "permitted are the headers of the content (Content-Type, Content-Disposition, "
    "Content-Language, Cache-Control, ETag, Expires, Last-Modified, Vary), Location, Link, "
    "Retry-After, RateLimit-…, Request-Id and headers of your own that begin with X-"
)
"""The permitted kinds, for errors."""


def is_permitted(name: str) -> bool:
    """Return whether a node may set the response header ``name``, in any case."""
    return _PERMITTED.fullmatch(name.strip().lower()) is not None


def schema_pattern() -> str:
    """Return the regular expression for JSON Schema: a permitted name in any case, or blank."""
    names, not_own = (_in_any_case(text) for text in ("|".join(sorted(PERMITTED)), _NOT_OWN))
    return rf"^\s*(?:{names}|(?!(?:{not_own})\s*$)[Xx](?:-[A-Za-z0-9_-]*)?)?\s*$"


def _in_any_case(pattern: str) -> str:
    return re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", pattern)
