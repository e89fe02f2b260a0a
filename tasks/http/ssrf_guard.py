"""SSRF guard: blocks requests to addresses that are not public, unless the operator allows them.

Public addresses are those that ``ipaddress`` calls global, according to IANA's registries of
special-purpose addresses, without those at which clouds publish credentials.
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
    """Reason why an address is blocked; the values are part of error messages."""

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
"""The kinds that ``HTTP_ALLOW_PRIVATE_NETWORKS`` allows; no network has hosts of the others."""

_RANGES: dict[AddressKind, str] = {
    # First, because some of these addresses are inside other ranges: AWS and most other clouds, AWS
    # containers and their identities, Alibaba, Azure, Oracle; IPv6: AWS, Google, Scaleway.
    AddressKind.METADATA: "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 "
    "168.63.129.16 "
    "192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42",
    # Explicit, because the error names the kind. fec0::/10 is global to ``ipaddress``, and so is
    # 64:ff9b:1::/48 before Python 3.12.4.
    AddressKind.PRIVATE: "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 "
    "fc00::/7 fec0::/10 64:ff9b:1::/48",
    AddressKind.SHARED: "100.64.0.0/10",
    AddressKind.UNSPECIFIED: "0.0.0.0/8 ::",
    # Parts of 192.0.0.0/24 and 2001::/23 (Teredo, protocol assignments) and all of 192.88.99.0/24
    # (6to4 relays) and 3fff::/20 (documentation) are global to some versions of ``ipaddress``.
    AddressKind.RESERVED: "192.0.0.0/24 192.88.99.0/24 2001::/23 3fff::/20",
}
_BLOCKED: list[tuple[Network, AddressKind]] = [
    (ip_network(text), kind) for kind, texts in _RANGES.items() for text in texts.split()
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa")
_CLASSIC_PART = r"(?:0x[0-9a-f]+|[0-9]+)"
_CLASSIC = re.compile(rf"{_CLASSIC_PART}(?:\.{_CLASSIC_PART}){{0,3}}", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


def blocked_kind(address: Address) -> AddressKind | None:
    """Return the reason why ``address`` is blocked, or ``None`` for a public address."""
    address = _destination(address)
    for network, kind in _BLOCKED:
        if address in network:
            return kind
    if address.is_loopback:
        return AddressKind.LOOPBACK
    if address.is_link_local:
        return AddressKind.LINK_LOCAL
    if address.is_multicast:
        return AddressKind.MULTICAST
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return AddressKind.RESERVED
    return None if address.is_global else AddressKind.RESERVED


def _destination(address: Address) -> Address:
    """Return the IPv4 address within an IPv6 address, or the address without its zone."""
    if isinstance(address, IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is not None:
        return embedded
    if address in _NAT64:  # the address that IPv6-only networks return for an IPv4-only host
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return IPv6Address(int(address))


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry of ``HTTP_ALLOWED_HOSTS``: a name, all names below one, or a range of addresses."""

    name: str = ""
    """The name in lower case; a leading dot means all names below it; empty for a range."""
    network: Network | None = None
    port: int | None = None
    """The only permitted port; ``None`` permits all ports."""

    def allows(self, host: str, port: int, address: Address | None) -> bool:
        """Return whether the entry allows ``host``, or the address to which it resolves."""
        if self.port not in {None, port}:
            return False
        if self.network is not None:
            return address is not None and _destination(address) in self.network
        name = host.rstrip(".").lower()
        return name.endswith(self.name) if self.name.startswith(".") else name == self.name


def parse_allowed_hosts(text: str) -> tuple[AllowedHost, ...]:
    """Return the entries of ``HTTP_ALLOWED_HOSTS``; a ``ValueError`` names an invalid one."""
    return tuple(_parse_allowed(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse_allowed(entry: str) -> AllowedHost:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", entry)
    if bracketed:
        host, port_text = bracketed[1], bracketed[2]
    elif entry.count(":") > 1:  # IPv6, which has a port only with brackets
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
            raise ValueError(f"'{entry}' is not a range of addresses: {error}") from None
    name = host.lower().rstrip(".")
    is_suffix = name.startswith("*.")
    name = name.removeprefix("*.")
    if not name.isascii():
        name = _to_ascii(entry, name)
    if not _NAME.fullmatch(name) or _CLASSIC.fullmatch(name):
        raise ValueError(
            f"'{entry}' should be a host name, *.suffix, an address or a range such as 10.0.0.0/8, "
            "with or without :port"
        )
    return AllowedHost(name=f".{name}" if is_suffix else name, port=port)


def _to_ascii(entry: str, name: str) -> str:
    try:
        return httpx2.URL(scheme="http", host=name).raw_host.decode("ascii")
    except httpx2.InvalidURL:
        raise ValueError(f"'{entry}' is not a valid host name") from None


@dataclass(frozen=True, slots=True)
class SsrfGuard:
    """Check of destinations: permits public addresses and those that the operator allows."""

    allow_private: bool = False
    allowed: tuple[AllowedHost, ...] = ()

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the checked addresses of ``host``; a connection must use one of them.

        Raises an ``AddressBlockedError`` if one of them is blocked, and an ``OSError`` if the name
        cannot be resolved.
        """
        addresses = await resolve(host, port)
        for address in addresses:
            self._is_public(host, port, address)
        return [str(address) for address in addresses]

    async def use_proxy(self, host: str, port: int) -> bool:
        """Return whether requests to ``host`` use the proxy.

        Public hosts use it; hosts that the operator allows are called directly. A name that only
        the proxy can resolve uses it too, unless it is a name of private networks. A blocked
        address raises an ``AddressBlockedError``.
        """
        try:
            addresses = await resolve(host, port)
        except OSError:
            name = host.rstrip(".").lower()
            private = "." not in name or name.endswith(_PRIVATE_SUFFIXES)
            allowed = self.allow_private or any(
                entry.allows(host, port, None) for entry in self.allowed
            )
            if private and not allowed:
                raise _blocked(host, port, AddressKind.PRIVATE_NAME) from None
            return True
        public = [self._is_public(host, port, address) for address in addresses]  # checks all
        return all(public)

    def _is_public(self, host: str, port: int, address: Address) -> bool:
        """Return whether an address is public, or only allowed; raise if it is blocked."""
        kind = blocked_kind(address)
        if kind is None:
            return True
        if self.allow_private and kind in _PRIVATE_NETWORKS:
            return False
        if any(entry.allows(host, port, address) for entry in self.allowed):
            return False
        raise _blocked(host, port, kind)


def _blocked(host: str, port: int, kind: AddressKind) -> AddressBlockedError:
    name = str(parse_ip_literal(host) or host).partition("%")[0].rstrip(".")
    where = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    remedy = f"HTTP_ALLOWED_HOSTS={where}"
    if kind in _PRIVATE_NETWORKS:
        remedy += ", or HTTP_ALLOW_PRIVATE_NETWORKS=true for all private networks"
    return AddressBlockedError(host, kind, remedy)


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of ``host`` in the resolver's order; ``OSError`` if it has none."""
    literal = parse_ip_literal(host)
    if literal is not None:
        return [literal]
    try:
        loop = asyncio.get_running_loop()
        entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long for any name
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
    addresses = [_sockaddr(*entry[4]) for entry in entries]
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    return list(dict.fromkeys(addresses))


def _sockaddr(text: object, _port: object, _flow: object = 0, scope: object = 0) -> Address:
    zone = f"%{scope}" if scope and "%" not in str(text) else ""
    return ip_address(f"{text}{zone}")


def parse_ip_literal(host: str) -> Address | None:
    """Return the IP address that ``host`` is, in any notation; ``None`` for a name.

    Notations such as ``2130706433``, ``0x7f.1``, ``0177.0.0.1`` and ``127.1``, with or without a
    final dot, are parsed here, because resolvers disagree about them.
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
