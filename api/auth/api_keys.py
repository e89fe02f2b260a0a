"""Keys: who has one, for which organization, and what it is good for."""

import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path

from file_modes import insecure_mode_reason

ALL_ORGANIZATIONS = "*"
FORMAT = "name:role:organization:sha256"

_NAME = re.compile(r"[\w.@-]{1,100}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_MAX_ID_CHARS = 500


class Role(IntEnum):
    """What a caller may do; each may what those before it may."""

    READ = 1
    """Look at executions, logs, streams, workflows."""
    RUN = 2
    """Start executions, cancel them, run them again, let them go on, try nodes out."""
    ADMIN = 3
    """Save, change and delete workflows."""


class KeysError(Exception):
    """A setting holds an entry that is no key; the message is one line, and names no key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the settings have it: its SHA-256 in hexadecimal, never itself."""

    name: str
    role: Role
    organization_id: str | None
    """``None``: of all of them."""
    digest: str


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """All keys there are; with none the service is open."""

    keys: tuple[ApiKey, ...] = ()

    def find(self, text: bytes) -> ApiKey | None:
        """The key that is ``text``. Takes as long whichever it is, and if it is none."""
        digest = digest_of(text)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def digest_of(text: bytes) -> str:
    """What the settings hold in place of a key."""
    return sha256(text).hexdigest()


def new_key(name: str, role: str, organization: str) -> tuple[str, str]:
    """A new key, and its entry for the settings.

    Raises:
        KeysError: the name, the role or the organization cannot stand in an entry.
    """
    text = f"wos_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{role}:{organization}:{digest_of(text.encode())}"
    read_entry("--new-key", entry)
    return text, entry


def read_keys(text: str | None, file: Path | None) -> ApiKeys:
    """The keys of ``API_KEYS`` and of the file that ``API_KEYS_FILE`` names, both together.

    Raises:
        KeysError: an entry is wrong, two have the same name or key, the file cannot be read, or a
            setting that is there has no entry: the service would be open against its intent.
    """
    keys: list[ApiKey] = []
    if text is not None:
        keys += _of("API_KEYS", re.split(r"[,\n]", text))
    if file is not None:
        if (reason := insecure_mode_reason(file)) is not None:
            raise KeysError(f"API_KEYS_FILE: {reason}")
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"API_KEYS_FILE: {file} cannot be read: {error}") from None
        keys += _of("API_KEYS_FILE", [line for line in lines if not line.lstrip().startswith("#")])
    for place, key in enumerate(keys):
        for other in keys[:place]:
            if key.name == other.name:
                raise KeysError(f"API_KEYS: there are two entries '{key.name}'")
            if key.digest == other.digest:
                both = f"'{other.name}' and '{key.name}'"
                raise KeysError(f"API_KEYS: the entries {both} have the same key")
    return ApiKeys(tuple(keys))


def _of(setting: str, entries: Sequence[str]) -> Iterator[ApiKey]:
    given = [entry.strip() for entry in entries if entry.strip()]
    if not given:
        raise KeysError(f"{setting}: there is no entry {FORMAT}")
    for entry in given:
        yield read_entry(setting, entry)


def read_entry(setting: str, entry: str) -> ApiKey:
    """One entry of ``setting``.

    Raises:
        KeysError: it is none. Of what is wrong no more is told than the name: it may be a key.
    """
    # An organization's id may hold a colon.
    name, _, rest = entry.partition(":")
    role, _, rest = rest.partition(":")
    organization, _, digest = rest.rpartition(":")
    if not _NAME.fullmatch(name) or entry.count(":") < FORMAT.count(":"):
        shown = f"'{name}' " if _NAME.fullmatch(name) and ":" in entry else ""
        raise KeysError(f"{setting}: an entry {shown}should be {FORMAT}")
    if role not in ROLES:
        raise KeysError(f"{setting}: the role of '{name}' should be {', '.join(ROLES)}")
    if not organization or len(organization) > _MAX_ID_CHARS:
        everyone = f"'{ALL_ORGANIZATIONS}' for all"
        raise KeysError(f"{setting}: the organization of '{name}' should be an id, or {everyone}")
    if not _DIGEST.fullmatch(digest):
        wanted = "the key's SHA-256 in 64 hexadecimal digits"
        raise KeysError(f"{setting}: the last part of '{name}' should be {wanted}")
    only = None if organization == ALL_ORGANIZATIONS else organization
    return ApiKey(name, ROLES[role], only, digest.lower())


ROLES = {role.name.lower(): role for role in Role}
