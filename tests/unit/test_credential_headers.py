"""Credential headers: headers that are hidden, headers that are not, and the users of the list."""

import pytest

from engine.masking import MASK, is_credential_header, masked_headers
from logs import _mask_credentials

CREDENTIALS = [
    "authorization",
    "proxy-authorization",
    "x-forwarded-authorization",
    "x-auth",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "proxy-authenticate",
    "authentication-info",
    "api-key",
    "x-api-key",
    "apikey",
    "x-apikey",
    "x-goog-api-key",
    "x-rapidapi-key",
    "ocp-apim-subscription-key",
    "x-functions-key",
    "x-parse-rest-api-key",
    "x-auth-key",
    "x-access-key",
    "aws-secret-access-key",
    "x-auth-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-gitlab-token",
    "private-token",
    "job-token",
    "circle-token",
    "x-vault-token",
    "x-amz-security-token",
    "x-shopify-access-token",
    "x-forwarded-access-token",
    "x-accesstoken",
    "x-telegram-bot-api-secret-token",
    "x-hub-signature",
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "webhook-signature",
    "svix-signature",
    "x-shopify-hmac-sha256",
    "paypal-transmission-sig",
    "x-secret",
    "client-secret",
    "x-password",
    "x-passwd",
    "x-session-id",
    "cf-access-jwt-assertion",
    "x-amzn-oidc-data",
    "x-github-otp",
    "dpop",
    "x-jwt",
]
HARMLESS = [
    "accept",
    "content-type",
    "content-length",
    "date",
    "etag",
    "host",
    "location",
    "retry-after",
    "user-agent",
    "x-github-event",
    "x-github-delivery",
    "webhook-id",
    "webhook-timestamp",
    "stripe-version",
    "x-trace",
    "idempotency-key",
    "surrogate-key",
    "cache-key",
    "sec-websocket-key",
    "x-request-id",
    "x-correlation-id",
    "x-ratelimit-remaining-tokens",
    "x-next-page-token",
    "x-continuation-token",
    "x-author",
    "authority",
    "x-tokenizer",
    "x-design",
    "x-key-figures",
    "x-monkey",
    "x-forwarded-for",
    "traceparent",
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_header_that_proves_an_identity_is_a_credential_in_any_case(name: str):
    for spelling in (name, name.upper(), name.title(), name.replace("-", "_"), f" {name} "):
        assert is_credential_header(spelling), spelling


@pytest.mark.parametrize("name", HARMLESS)
def test_a_header_that_proves_nothing_is_not_a_credential(name: str):
    assert not is_credential_header(name)


def test_results_and_logs_mask_the_same_headers():
    headers = dict.fromkeys([*CREDENTIALS, *HARMLESS], "value")
    expected = dict.fromkeys(CREDENTIALS, MASK) | dict.fromkeys(HARMLESS, "value")
    assert masked_headers(headers) == expected
    assert _mask_credentials(None, "info", {"headers": headers}) == {"headers": expected}


def test_a_log_field_with_the_name_of_a_credential_header_is_masked():
    event = {"x_gitlab_token": "t", "api_key": "k", "secret": "SHOP_KEY", "reason": "r"}
    masked = {"x_gitlab_token": MASK, "api_key": MASK, "secret": "SHOP_KEY", "reason": "r"}
    assert _mask_credentials(None, "info", event) == masked


def test_a_name_of_a_hundred_thousand_characters_is_judged_at_once():
    assert not is_credential_header("a" * 100_000)
    assert not is_credential_header("-".join(["a"] * 50_000))
