"""The headers that a workflow may set in its response."""

import re

import pytest

from engine.response_headers import is_permitted, schema_pattern

_NO = """
Service-Worker-Allowed Clear-Site-Data Strict-Transport-Security Alt-Svc Set-Cookie Set-Cookie2
Access-Control-Allow-Origin Access-Control-Allow-Credentials Content-Security-Policy Refresh
Content-Security-Policy-Report-Only X-Content-Security-Policy X-WebKit-CSP X-Frame-Options NEL
X-Content-Type-Options X-XSS-Protection X-Permitted-Cross-Domain-Policies Permissions-Policy
Cross-Origin-Opener-Policy Cross-Origin-Resource-Policy Referrer-Policy Report-To
Reporting-Endpoints Origin-Agent-Cluster Public-Key-Pins Expect-CT Accept-CH Critical-CH
Speculation-Rules SourceMap Timing-Allow-Origin WWW-Authenticate Proxy-Authenticate Connection
Keep-Alive Transfer-Encoding TE Content-Length Content-Encoding Trailer Upgrade Host Server
Date Via X-Accel-Redirect X-Sendfile X-Accel-Buffering X-LiteSpeed-Location X-Reproxy-URL
X-Forwarded-Host
"""
_YES = """
Content-Type content-disposition CONTENT-LANGUAGE Cache-Control ETag Expires Last-Modified Vary
Location Link Retry-After X-Order x-request-id X-Powered-By X Request-Id RateLimit-Limit Allow
traceparent
"""
NO, YES = _NO.split(), _YES.split()


@pytest.mark.parametrize("name", NO)
def test_a_header_that_configures_a_browser_or_a_proxy_is_not_permitted(name: str):
    for spelling in (name, name.lower(), name.upper(), f" {name} "):
        assert not is_permitted(spelling)
        assert re.search(schema_pattern(), spelling) is None


@pytest.mark.parametrize("name", YES)
def test_a_header_of_the_content_or_of_ones_own_is_permitted(name: str):
    assert is_permitted(name)
    assert re.search(schema_pattern(), f" {name} ")
