"""Hosts and origins: decides which ``Host`` headers and which pages the service accepts."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

ANY = "*"
MAX_SHOWN_CHARACTERS = 200
"""Maximum length of a value of the client that an error quotes, in characters."""
MAX_PORT = 65_535
DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}

_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?:%[\w.~-]+)?\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d{0,5}))?",
    re.ASCII,
)
_NUMERIC_IPV4 = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+))*", re.ASCII)
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain")
_LOCAL_ORIGIN = re.compile(r"https?://(?:localhost|127\.0\.0\.1)(?::\d{1,5})?", re.ASCII)
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^\s/:@?#\[\]\\*,]+)"
    r"(?::(?P<port>\d{1,5}|\*))?",
    re.ASCII,
)
_ALLOWED_HOST = "a host name, '*.suffix', an IP address or '*', with or without ':port'"
_ALLOWED_ORIGIN = "scheme://host, scheme://host:port, scheme://host:* or '*'"


@dataclass(frozen=True, slots=True)
class Authority:
    """A ``Host`` header: a lower-case name without a trailing dot, or an address, and a port."""

    host: str
    port: str = ""
    is_ipv6: bool = False

    @property
    def is_local(self) -> bool:
        """Whether no foreign DNS server resolves the name.

        True for loopback names, IP addresses and names without a dot.
        """
        if self.is_ipv6 or "." not in self.host or self.host in _LOOPBACK_NAMES:
            return True
        return self.host.endswith(".localhost") or _is_ipv4(self.host)


def parse_authority(text: str | None) -> Authority | None:
    """Return the parts of a ``Host`` header; ``None`` if it is missing or invalid."""
    match = _AUTHORITY.fullmatch(text or "")
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return None
    port = (match["port"] or "").lstrip("0")
    if match["v6"] is not None:
        try:
            return Authority(ipaddress.IPv6Address(match["v6"]).compressed, port, is_ipv6=True)
        except ValueError:
            return None
    host = match["name"].lower().removesuffix(".")
    return Authority(host, port) if all(host.split(".")) else None


def _is_ipv4(host: str) -> bool:
    """Return whether a host is an IPv4 address, also in forms such as ``127.1`` and ``0x7f.1``."""
    if _NUMERIC_IPV4.fullmatch(host) is None:
        return False
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def split_target(raw_path: bytes) -> tuple[str, bytes] | None:
    """Return authority and path of a request target in absolute form; ``None`` for another form.

    RFC 9112, section 3.2.2: a server accepts this form, and the target takes precedence over the
    ``Host`` header.
    """
    match = _ABSOLUTE_FORM.fullmatch(raw_path)
    return None if match is None else (match[1].decode("latin-1"), match[2] or b"/")


def decoded_path(raw_path: bytes) -> str:
    """Return a decoded path, as servers pass it to applications."""
    return unquote(raw_path.decode("latin-1"))


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of ``ALLOWED_HOSTS``, in addition to those that are always allowed."""

    entries: Sequence[Authority] = ()

    def allows(self, authority: Authority | None) -> bool:
        """Return whether a request may name this host."""
        if authority is None:
            return False
        return authority.is_local or any(_matches(entry, authority) for entry in self.entries)


def parse_hosts(text: str) -> Hosts:
    """Return the hosts of a setting.

    Raises:
        ValueError: If an entry is invalid; the message names it and the accepted forms.
    """
    entries: list[Authority] = []
    for entry in _entries(text):
        if entry == ANY:
            entries.append(Authority(ANY))
            continue
        below = "*." if entry.startswith("*.") else ""
        try:
            name = entry.removeprefix(below).encode("idna" if not entry.isascii() else "ascii")
        except UnicodeError:
            name = b""
        parsed = parse_authority(name.decode())
        if parsed is None or (below and parsed.is_ipv6):
            raise ValueError(f"{entry!r} should be {_ALLOWED_HOST}")
        entries.append(Authority(below + parsed.host, parsed.port, is_ipv6=parsed.is_ipv6))
    return Hosts(tuple(entries))


def _matches(entry: Authority, requested: Authority) -> bool:
    if entry.port and entry.port != requested.port:
        # Clients leave out the port that is the default of their scheme.
        is_default = not requested.port and entry.port in DEFAULT_PORTS.values()
        if not is_default:
            return False
    if entry.host == ANY:
        return True
    if entry.host.startswith("*."):
        return requested.host.endswith(entry.host[1:])
    return entry.host == requested.host


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
