"""Hosts and origins: decides which ``Host`` headers and which pages the service accepts."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

ANY = "*"
MAX_SHOWN_CHARACTERS = 200
"""Maximum length of a value of the client that an error quotes, in characters."""
MAX_PORT = 65_535
DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}

_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?:%[\w.~-]+)?\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d{0,5}))?",
    re.ASCII,
)
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain")
_LOCAL_ORIGIN = re.compile(r"https?://(?:localhost|127\.0\.0\.1)(?::\d{1,5})?", re.ASCII)
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^\s/:@?#\[\]\\*,]+)"
    r"(?::(?P<port>\d{1,5}|\*))?",
    re.ASCII,
)
_ALLOWED_HOST = "a host name, '*.suffix' or '*', without a port"
_ALLOWED_ORIGIN = "scheme://host, scheme://host:port, scheme://host:* or '*'"


@dataclass(frozen=True, slots=True)
class Authority:
    """A ``Host`` header: a lower-case name without a trailing dot, or an address, and a port."""

    host: str
    port: str = ""

    @property
    def is_local(self) -> bool:
        """Whether no foreign DNS server resolves the name.

        True for loopback names, IP addresses and names without a dot.
        """
        if "." not in self.host or self.host in _LOOPBACK_NAMES:
            return True
        return self.host.endswith(".localhost") or _is_address(self.host)


def parse_authority(text: str | None) -> Authority | None:
    """Return the parts of a ``Host`` header; ``None`` if it is missing or invalid."""
    match = _AUTHORITY.fullmatch(text or "")
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return None
    port = (match["port"] or "").lstrip("0")
    if match["v6"] is not None:
        try:
            return Authority(ipaddress.IPv6Address(match["v6"]).compressed, port)
        except ValueError:
            return None
    host = match["name"].lower().removesuffix(".")
    return Authority(host, port) if all(host.split(".")) else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of ``ALLOWED_HOSTS``, in addition to those that are always allowed."""

    entries: frozenset[str] = frozenset()
    """Names in lower case, suffixes such as ``*.shop.example``, and ``*`` for every name."""

    def allows(self, authority: Authority | None) -> bool:
        """Return whether a request may name this host."""
        if authority is None:
            return False
        host = authority.host
        if authority.is_local or ANY in self.entries or host in self.entries:
            return True
        return any(host.endswith(entry[1:]) for entry in self.entries if entry[0] == ANY)


def parse_hosts(text: str) -> Hosts:
    """Return the hosts of a setting.

    Raises:
        ValueError: If an entry is invalid; the message names it and the accepted forms.
    """
    entries: set[str] = set()
    for entry in _entries(text):
        name = parse_authority(entry.removeprefix("*."))
        if entry != ANY and (name is None or name.port):
            raise ValueError(f"{entry!r} should be {_ALLOWED_HOST}")
        entries.add(entry.lower().removesuffix("."))
    return Hosts(frozenset(entries))


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins of ``CORS_ORIGINS``, in addition to those of this machine."""

    listed: frozenset[str] = frozenset()
    """Origins as browsers send them; with ``:*`` for every port."""
    allow_any: bool = False

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may call the service."""
        origin = origin.lower()
        return self.allow_any or _LOCAL_ORIGIN.fullmatch(origin) is not None or self.lists(origin)

    def lists(self, origin: str) -> bool:
        """Return whether ``CORS_ORIGINS`` names this origin."""
        match = _ORIGIN.fullmatch(origin.lower())
        if match is None:
            return False
        every_port = f"{match['scheme']}://{match['host']}:{ANY}"
        return _canonical(match) in self.listed or every_port in self.listed


def parse_origins(text: str) -> Origins:
    """Return the origins of a setting.

    Raises:
        ValueError: If an entry is invalid; the message names it and the accepted forms.
    """
    listed: set[str] = set()
    allow_any = False
    for entry in _entries(text):
        if entry == ANY:
            allow_any = True
            continue
        match = _ORIGIN.fullmatch(entry.lower().removesuffix("/"))
        if match is None:
            raise ValueError(f"{entry!r} should be {_ALLOWED_ORIGIN}")
        listed.add(_canonical(match))
    return Origins(frozenset(listed), allow_any)


def is_own(origin: str, authority: Authority | None) -> bool:
    """Return whether a page of ``origin`` comes from the host that its request names."""
    match = _ORIGIN.fullmatch(origin.lower())
    own = None if match is None else parse_authority(match["host"])
    if match is None or own is None or authority is None or own.host != authority.host:
        return False
    default = DEFAULT_PORTS.get(match["scheme"], "")
    # A proxy that ends TLS hides the scheme from the service, so that either default port fits.
    return (match["port"] or default) in (authority.port or default, authority.port)


def shown(value: str) -> str:
    """Return a value of the client, truncated for an error."""
    return value if len(value) <= MAX_SHOWN_CHARACTERS else f"{value[:MAX_SHOWN_CHARACTERS]}…"


def _entries(text: str) -> Sequence[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _canonical(match: re.Match[str]) -> str:
    """Return an origin without the default port of its scheme, as browsers send it."""
    port = match["port"] or ""
    kept = "" if port in ("", DEFAULT_PORTS.get(match["scheme"])) else f":{port}"
    return f"{match['scheme']}://{match['host']}{kept}"
