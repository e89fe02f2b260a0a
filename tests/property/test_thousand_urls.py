"""A thousand hostile URLs: every blocked range in every notation, and public addresses."""

import asyncio
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.http.ssrf_guard import blocked_kind
from tests.support.generated import examples
from tests.support.network import get_error, no_network

# Written down once more, and not taken from the guard: this is what is claimed.
# fmt: off
FOUR = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "168.63.129.16/32",
]
SIX = [
    "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
    "3fff::/20", "4000::/2", "8000::/2", "c000::/3", "fc00::/7", "fe80::/10", "fec0::/10",
    "ff00::/8",
]
# fmt: on
CLOSED_FOUR = [IPv4Network(text) for text in FOUR]
CLOSED_SIX = [IPv6Network(text) for text in SIX]


@st.composite
def addresses_four(draw: st.DrawFn) -> IPv4Address:
    network = draw(st.sampled_from(CLOSED_FOUR))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@st.composite
def classic_spellings(draw: st.DrawFn) -> str:
    """``inet_aton``'s: one to four parts, each decimal, octal or hexadecimal."""
    value = int(draw(addresses_four()))
    count = draw(st.integers(1, 4))
    first = [(value >> (24 - 8 * index)) & 0xFF for index in range(count - 1)]
    parts = [*first, value & ((1 << (8 * (5 - count))) - 1)]
    shown = [draw(st.sampled_from(["{}", "0{:o}", "0x{:x}", "0X{:X}", "0x0{:x}"])) for _ in parts]
    text = ".".join(form.format(part) for form, part in zip(shown, parts, strict=True))
    return text + draw(st.sampled_from(["", "."]))


@st.composite
def addresses_six(draw: st.DrawFn) -> IPv6Address:
    network = draw(st.sampled_from(CLOSED_SIX))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@st.composite
def embedded(draw: st.DrawFn) -> IPv6Address:
    value = int(draw(addresses_four()))
    base, shift = draw(st.sampled_from([("::ffff:0:0", 0), ("64:ff9b::", 0), ("2002::", 80)]))
    low = draw(st.integers(0, 2**80 - 1)) if shift else 0
    return IPv6Address(int(IPv6Address(base)) | value << shift | low)


@st.composite
def hosts_six(draw: st.DrawFn) -> str:
    address = draw(st.one_of(addresses_six(), embedded()))
    text = draw(st.sampled_from([address.compressed, address.exploded, _dotted(address)]))
    zone = draw(st.sampled_from(["", "", "%25eth0", "%1"]))
    return f"[{draw(st.sampled_from([text, text.upper()]))}{zone}]"


def _dotted(address: IPv6Address) -> str:
    high, low = divmod(int(address), 1 << 32)
    groups = IPv6Address(high << 32).exploded.split(":")[:6]
    return f"{':'.join(groups)}:{IPv4Address(low)}"


@st.composite
def hostile_urls(draw: st.DrawFn) -> str:
    host = draw(st.one_of(addresses_four().map(str), classic_spellings(), hosts_six()))
    if draw(st.booleans()) and host.isascii():
        host = host.replace(".", draw(st.sampled_from([".", "。", "．", "｡"])))  # noqa: RUF001
    user = draw(st.sampled_from(["", "", "u@", "public.example:80@", "a:b@c@"]))
    port = draw(st.sampled_from(["", "", ":80", ":8080", ":65535", ":"]))
    rest = draw(st.sampled_from(["", "/", "/x?u=@public.example", "#@public.example", "?q"]))
    return f"{draw(st.sampled_from(['http', 'https', 'HTTP']))}://{user}{host}{port}{rest}"


@pytest.mark.timeout(180)
def test_none_of_a_thousand_hostile_urls_gets_through():
    blocked: set[str] = set()
    refused: set[str] = set()

    @settings(max_examples=1_500, database=None)
    @given(hostile_urls())
    def call(url: str) -> None:
        with no_network() as network:
            error = runner.run(get_error(url))
        assert network.connected == []
        assert not error.retryable
        assert "ssrf_blocked" in str(error) or "httpUrl" in str(error)
        (blocked if "ssrf_blocked" in str(error) else refused).add(url)

    with asyncio.Runner() as runner:
        call()
    assert len(blocked) + len(refused) >= 1_000
    assert len(blocked) >= 500  # httpx2 rejects the rest as URLs, such as those with a zone


def any_unicast() -> st.SearchStrategy[IPv4Address | IPv6Address]:
    unicast = int(IPv6Address("2000::"))
    six = st.integers(0, 2**125 - 1).map(lambda low: IPv6Address(unicast | low))
    return st.one_of(st.integers(0, 2**32 - 1).map(IPv4Address), six)


@examples(1_000)
@given(any_unicast())
def test_public_addresses_are_not_blocked(address: IPv4Address | IPv6Address):
    closed = CLOSED_FOUR if isinstance(address, IPv4Address) else CLOSED_SIX
    within = address.sixtofour if isinstance(address, IPv6Address) else None
    if within is not None:
        address, closed = within, CLOSED_FOUR
    metadata = {"fd00:ec2::254", "fd20:ce::254"}
    if any(address in network for network in closed) or str(address) in metadata:
        assert blocked_kind(address) is not None
    else:
        assert blocked_kind(address) is None


@pytest.mark.parametrize("network", [*CLOSED_FOUR, *CLOSED_SIX], ids=str)
def test_both_ends_of_every_closed_range_are_closed(network: IPv4Network | IPv6Network):
    assert blocked_kind(network[0])
    assert blocked_kind(network[-1])
