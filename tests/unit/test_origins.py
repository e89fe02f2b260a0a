"""Hosts and origins: accepted and rejected values of each kind."""

import pytest

from api.auth.origins import is_own, parse_authority, parse_hosts, parse_origins

ACCEPTED = [
    "localhost",
    "localhost:8000",
    "LOCALHOST:8000",
    "localhost.",
    "localhost:",
    "editor.localhost:3000",
    "localhost.localdomain",
    "127.0.0.1",
    "127.0.0.1:8000",
    "192.168.1.20:8000",
    "[::1]:8000",
    "[fe80::1%25eth0]:8000",
    "[2001:db8::1]",
    "workflow-service:8000",
    "my_service",
    "x",
]
REJECTED = [
    "",
    "evil.example",
    "evil.example:8000",
    "EVIL.example",
    "evil.example.",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1.nip.io:8000",
    "localhost:8000.evil.example",
    "localhost:99999",
    "localhost:port",
    "localhost:80:80",
    "user@localhost",
    "localhost@evil.example",
    "localhost, evil.example",
    "localhost/evil",
    "localhost\\evil.example",
    "evil%2eexample",
    "ev\u0131l.example",
    "::1",
    "[::1",
    "[evil.example]",
    "[::1].evil.example",
    "1.2.3.4.5",
    "999.1.1.1.example",
    ".",
    "..",
    "a..b",
    " ",
]


@pytest.mark.parametrize("host", ACCEPTED)
def test_a_host_of_this_machine_or_network(host: str):
    assert parse_hosts("").allows(parse_authority(host))


@pytest.mark.parametrize("host", REJECTED)
def test_a_host_that_a_foreign_dns_server_resolves(host: str):
    assert not parse_hosts("").allows(parse_authority(host))


def test_a_missing_host():
    assert not parse_hosts("*").allows(parse_authority(None))


@pytest.mark.parametrize(
    ("setting", "host", "is_allowed"),
    [
        ("shop.example", "shop.example", True),
        ("shop.example", "SHOP.example.:8000", True),
        ("other.example, shop.example", "shop.example:1", True),
        ("shop.example", "www.shop.example", False),
        ("shop.example", "evilshop.example", False),
        ("*.shop.example", "www.shop.example", True),
        ("*.shop.example", "shop.example", False),
        ("*.shop.example", "evilshop.example", False),
        ("SHOP.example.", "shop.example", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("*", "evil.example", True),
        ("*", "not valid", False),
    ],
)
def test_allowed_hosts(setting: str, host: str, is_allowed: bool):
    assert parse_hosts(setting).allows(parse_authority(host)) == is_allowed


@pytest.mark.parametrize(
    "entry",
    ["https://shop.example", "shop.example/path", "*shop", "a b", "[::1", "shop:99999", "shop:80"],
)
def test_an_invalid_allowed_host_is_named(entry: str):
    with pytest.raises(ValueError, match="should be a host name") as raised:
        parse_hosts(f"localhost, {entry}")
    assert repr(entry) in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "origin", "is_allowed", "is_listed"),
    [
        ("", "http://localhost", True, False),
        ("", "http://localhost:3000", True, False),
        ("", "https://localhost:5173", True, False),
        ("", "http://127.0.0.1:3000", True, False),
        ("", "http://[::1]:3000", False, False),
        ("", "http://localhost.evil.example", False, False),
        ("", "http://localhost:3000.evil.example", False, False),
        ("", "http://127.0.0.1.evil.example", False, False),
        ("", "http://localhost@evil.example", False, False),
        ("", "https://evil.example", False, False),
        ("", "ftp://localhost", False, False),
        ("", "null", False, False),
        ("", "", False, False),
        ("https://a.example", "https://a.example", True, True),
        ("https://A.example/", "https://a.example", True, True),
        ("https://a.example:443", "https://a.example", True, True),
        ("https://a.example", "https://a.example:8443", False, False),
        ("https://a.example", "http://a.example", False, False),
        ("https://a.example", "https://a.example.evil.example", False, False),
        ("https://a.example", "https://b.a.example", False, False),
        ("https://a.example", "http://localhost:3000", True, False),
        ("http://dev.example:*", "http://dev.example:3000", True, True),
        ("http://dev.example:*", "http://dev.example", True, True),
        ("http://localhost:3000", "http://localhost:3000", True, True),
        ("capacitor://localhost", "capacitor://localhost", True, True),
        ("*", "https://evil.example", True, False),
        ("*", "null", True, False),
        ("https://a.example", "null", False, False),
    ],
)
def test_cors_origins(setting: str, origin: str, is_allowed: bool, is_listed: bool):
    origins = parse_origins(setting)
    assert origins.allows(origin) == is_allowed
    assert origins.lists(origin) == is_listed


@pytest.mark.parametrize(
    "entry", ["a.example", "https://a.example/path", "https://*.example", "null", "https://"]
)
def test_an_invalid_origin_is_named(entry: str):
    with pytest.raises(ValueError, match="should be scheme://host") as raised:
        parse_origins(f"https://b.example, {entry}")
    assert repr(entry) in str(raised.value)


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://shop.example", "shop.example", True),
        ("https://shop.example", "shop.example", True),
        ("https://shop.example", "shop.example:443", True),
        ("http://shop.example:8000", "Shop.example.:8000", True),
        ("http://shop.example:8000", "shop.example", False),
        ("http://shop.example", "shop.example:8000", False),
        ("http://evil.example", "shop.example", False),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("null", "null", False),
        ("", "", False),
    ],
)
def test_the_own_origin_of_the_service(origin: str, host: str, own: bool):
    assert is_own(origin, parse_authority(host)) == own
