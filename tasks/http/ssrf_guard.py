"""Where calls may go: which addresses are nobody's business, and what the operator has opened.

The ranges are those of IANA's registries of special-purpose addresses, IPv4 and IPv6, in so far as
they are not globally reachable, and the addresses at which clouds hand out credentials.
"""

import asyncio
import re
import socket
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpx2

from engine.errors import AddressBlockedError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_PORT = 65_535


class AddressKind(StrEnum):
    """Why an address is closed, as it stands in messages."""

    LOOPBACK = "a loopback address"
    PRIVATE = "a private address"
    LINK_LOCAL = "a link-local address"
    SHARED = "a shared address (carrier-grade NAT)"
    METADATA = "a cloud's metadata address"
    UNSPECIFIED = "an unspecified address"
    MULTICAST = "a multicast address"
    RESERVED = "a reserved address"
    PRIVATE_NAME = "a name of private networks, which does not resolve here"


_PRIVATE_NETWORKS = frozenset(
    {AddressKind.LOOPBACK, AddressKind.PRIVATE, AddressKind.LINK_LOCAL, AddressKind.SHARED}
)
"""What ``HTTP_ALLOW_PRIVATE_NETWORKS`` opens. No network has hosts at the others."""

_RANGES: dict[AddressKind, str] = {
    # First, because some lie inside other ranges: AWS and most others, AWS containers and their
    # identities, Alibaba, Azure, Oracle; then AWS, Google and Scaleway by IPv6.
    AddressKind.METADATA: "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 "
    "168.63.129.16 "
    "192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42",
    AddressKind.LOOPBACK: "127.0.0.0/8 ::1",
    AddressKind.PRIVATE: "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 "
    "fc00::/7 fec0::/10 64:ff9b:1::/48",
    AddressKind.LINK_LOCAL: "169.254.0.0/16 fe80::/10",
    AddressKind.SHARED: "100.64.0.0/10",
    AddressKind.UNSPECIFIED: "0.0.0.0/8 ::",
    AddressKind.MULTICAST: "224.0.0.0/4 ff00::/8",
    # Protocol assignments (Teredo among IPv6's), documentation, 6to4's relays, benchmarks, the rest
    # of IPv4, and the discard prefix. What is no IPv6 unicast at all follows in ``kind_of``.
    AddressKind.RESERVED: "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 "
    "203.0.113.0/24 240.0.0.0/4 100::/64 2001::/23 2001:db8::/32 3fff::/20",
}
_CLOSED: list[tuple[Network, AddressKind]] = [
    (ip_network(text), kind) for kind, texts in _RANGES.items() for text in texts.split()
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
_CLASSIC_PART = r"(?:0x[0-9a-f]+|[0-9]+)"
_CLASSIC = re.compile(rf"{_CLASSIC_PART}(?:\.{_CLASSIC_PART}){{0,3}}", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def kind_of(address: Address) -> AddressKind | None:
    """Why no call may go to ``address``; ``None`` when it is an ordinary public one."""
    address = _reached(address)
    for network, kind in _CLOSED:
        if address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return AddressKind.RESERVED
    return None


def _reached(address: Address) -> Address:
    """Where a packet to ``address`` ends up: the IPv4 address within an IPv6 one, and no zone."""
    if isinstance(address, IPv4Address):
        return address
    within = address.ipv4_mapped or address.sixtofour
    if within is not None:
        return within
    if address in _NAT64:  # what IPv6-only networks give for a name that has IPv4 alone
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return IPv6Address(int(address))


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of ``HTTP_ALLOWED_HOSTS``: a name, all names below one, or a range of addresses."""

    name: str = ""
    """In lower case; with a leading dot for what is below it; empty for a range."""
    network: Network | None = None
    port: int | None = None
    """Without one, all ports."""

    def opens(self, host: str, port: int, address: Address | None) -> bool:
        """Whether the operator has opened ``host``, or the address at which it is found."""
        if self.port not in {None, port}:
            return False
        if self.network is not None:
            return address is not None and _reached(address) in self.network
        name = host.rstrip(".").lower()
        return name.endswith(self.name) if self.name.startswith(".") else name == self.name


def parse_allowed_hosts(text: str) -> tuple[AllowedHost, ...]:
    """The entries of ``HTTP_ALLOWED_HOSTS``, which are separated by commas.

    Raises:
        ValueError: one of them is no host; the message names it.
    """
    return tuple(_parse_allowed(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_allowed(entry: str) -> AllowedHost:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", entry)
    if bracketed:
        host, port_text = bracketed[1], bracketed[2]
    elif entry.count(":") > 1:  # IPv6, which takes a port in brackets only
        host, port_text = entry, None
    else:
        host, colon, port_text = entry.partition(":")
        port_text = port_text if colon else None
    port = None
    if port_text is not None:
        port = int(port_text) if re.fullmatch(r"\d{1,5}", port_text) else 0
        if not 1 <= port <= MAX_PORT:
            raise ValueError(f"'{entry}' should have a port from 1 to {MAX_PORT}")
    try:
        return AllowedHost(network=ip_network(host), port=port)
    except ValueError as error:
        if "/" in host or bracketed:
            raise ValueError(f"'{entry}' is no range of addresses: {error}") from None
    name = host.lower().rstrip(".")
    below = name.startswith("*.")
    name = name.removeprefix("*.")
    if not name.isascii():
        name = _in_ascii(entry, name)
    if not _NAME.fullmatch(name) or _CLASSIC.fullmatch(name):
        raise ValueError(
            f"'{entry}' should be a host name, *.suffix, an address or a range such as 10.0.0.0/8, "
            "with or without :port"
        )
    return AllowedHost(name=f".{name}" if below else name, port=port)


def _in_ascii(entry: str, name: str) -> str:
    try:
        return httpx2.URL(scheme="http", host=name).raw_host.decode("ascii")
    except httpx2.InvalidURL:
        raise ValueError(f"'{entry}' is no host name") from None


@dataclass(frozen=True, slots=True)
class SsrfGuard:
    """What calls may reach: everything public, and what the operator has opened."""

    allow_private: bool = False
    allowed: tuple[AllowedHost, ...] = ()

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of ``host``, all of them checked: who connects, connects to one of these.

        Raises:
            AddressBlockedError: one of them is closed.
            OSError: the name cannot be resolved.
        """
        found = await resolve(host, port)
        for address in found:
            self._check(host, port, address)
        return [str(address) for address in found]

    async def goes_through_proxy(self, host: str, port: int) -> bool:
        """Whether ``host`` is public, so that its calls are a proxy's, as far as can be told.

        What is open only because the operator opened it is called directly. A name that resolves
        for nobody but the proxy is left to the proxy, unless it is one of private networks.

        Raises:
            AddressBlockedError: it is closed.
        """
        try:
            found = await resolve(host, port)
        except OSError:
            name = host.rstrip(".").lower()
            private = "." not in name or name.endswith(_PRIVATE_SUFFIXES)
            is_open = self.allow_private or any(
                entry.opens(host, port, None) for entry in self.allowed
            )
            if private and not is_open:
                raise _blocked(host, port, AddressKind.PRIVATE_NAME) from None
            return True
        public = [self._check(host, port, address) for address in found]  # each of them
        return all(public)

    def _check(self, host: str, port: int, address: Address) -> bool:
        """``True`` for a public address, ``False`` for another that is open."""
        kind = kind_of(address)
        if kind is None:
            return True
        if self.allow_private and kind in _PRIVATE_NETWORKS:
            return False
        if any(entry.opens(host, port, address) for entry in self.allowed):
            return False
        raise _blocked(host, port, kind)


def _blocked(host: str, port: int, kind: AddressKind) -> AddressBlockedError:
    name = str(written_address(host) or host).partition("%")[0].rstrip(".")
    where = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    remedy = f"HTTP_ALLOWED_HOSTS={where}"
    if kind in _PRIVATE_NETWORKS:
        remedy += ", or HTTP_ALLOW_PRIVATE_NETWORKS=true for all private networks"
    return AddressBlockedError(host, kind, remedy)


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of ``host`` as the system resolves it, the preferred one first.

    Raises:
        OSError: it has none.
    """
    written = written_address(host)
    if written is not None:
        return [written]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long for any name
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
    addresses = [_sockaddr(*entry[4]) for entry in found]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return list(dict.fromkeys(addresses))


def _sockaddr(text: object, _port: object, _flow: object = 0, scope: object = 0) -> Address:
    zone = f"%{scope}" if scope and "%" not in str(text) else ""
    return ip_address(f"{text}{zone}")


def written_address(host: str) -> Address | None:
    """The address that ``host`` spells out, in any way that systems read; ``None`` for a name.

    That is also ``2130706433``, ``0x7f.1``, ``0177.0.0.1`` and ``127.1``, with or without a dot at
    the end: resolvers differ in what they make of these, and here none is asked.
    """
    text = host.removesuffix(".")
    try:
        return ip_address(text)
    except ValueError:
        pass
    if not _CLASSIC.fullmatch(text):
        return None
    try:
        return IPv4Address(socket.inet_aton(text))
    except OSError:
        return None
