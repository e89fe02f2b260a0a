"""API keys: parses the entries of the settings, and finds the entry of a key."""

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
    """Permissions of a caller; each role includes the ones before it."""

    READ = 1
    """Read executions, logs, streams and workflows."""
    RUN = 2
    """Start, cancel, rerun and resume executions, and run single nodes."""
    ADMIN = 3
    """Create, update and delete workflows."""


class KeysError(Exception):
    """A setting contains an invalid key entry; the message is one line, and contains no key."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An entry of the settings. It contains the hash of the key, not the key."""

    name: str
    role: Role
    organization_id: str | None
    """``None`` for all organizations."""
    digest: str
    """SHA-256 of the key, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of the settings. Without any, the service is open to every client."""

    keys: tuple[ApiKey, ...] = ()

    def find(self, credential: bytes) -> ApiKey | None:
        """Return the entry of a key; ``None`` if there is none. Takes the same time in any case."""
        digest = digest_of(credential)
        match = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match


def digest_of(key: bytes) -> str:
    """Return the hash of a key, as the settings contain it."""
    return sha256(key).hexdigest()


def new_key(name: str, role: str, organization: str) -> tuple[str, str]:
    """Create a key, and return it with its entry for the settings.

    Raises:
        KeysError: If the name, the role or the organization is invalid.
    """
    key = f"wos_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{role}:{organization}:{digest_of(key.encode())}"
    read_entry("--new-key", entry)
    return key, entry


def read_keys(text: str | None, file: Path | None) -> ApiKeys:
    """Return the keys of ``API_KEYS`` together with those of the file ``API_KEYS_FILE``.

    Raises:
        KeysError: If an entry is invalid, two have the same name or key, the file cannot be read,
            or a setting has no entry, because the service would be open by mistake.
    """
    keys: list[ApiKey] = []
    if text is not None:
        keys += _parse_entries("API_KEYS", re.split(r"[,\n]", text))
    if file is not None:
        if (reason := insecure_mode_reason(file)) is not None:
            raise KeysError(f"API_KEYS_FILE: {reason}")
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"API_KEYS_FILE: {file} cannot be read: {error}") from None
        keys += _parse_entries(
            "API_KEYS_FILE", [line for line in lines if not line.lstrip().startswith("#")]
        )
    for position, key in enumerate(keys):
        for other in keys[:position]:
            if key.name == other.name:
                raise KeysError(f"API_KEYS: two entries have the name '{key.name}'")
            if key.digest == other.digest:
                names = f"'{other.name}' and '{key.name}'"
                raise KeysError(f"API_KEYS: the entries {names} have the same key")
    return ApiKeys(tuple(keys))


def _parse_entries(setting: str, entries: Sequence[str]) -> Iterator[ApiKey]:
    stripped = [entry.strip() for entry in entries if entry.strip()]
    if not stripped:
        raise KeysError(f"{setting}: contains no entry {FORMAT}")
    for entry in stripped:
        yield read_entry(setting, entry)


def read_entry(setting: str, entry: str) -> ApiKey:
    """Parse one entry of ``setting``.

    Raises:
        KeysError: If it is invalid. The message shows only its name, because it may contain a key.
    """
    # The id of an organization may contain a colon.
    name, _, rest = entry.partition(":")
    role, _, rest = rest.partition(":")
    organization, _, digest = rest.rpartition(":")
    if not _NAME.fullmatch(name) or entry.count(":") < FORMAT.count(":"):
        shown = f"'{name}' " if _NAME.fullmatch(name) and ":" in entry else ""
        raise KeysError(f"{setting}: an entry {shown}should be {FORMAT}")
    if role not in ROLES:
        raise KeysError(f"{setting}: the role of '{name}' should be {', '.join(ROLES)}")
    if not organization or len(organization) > _MAX_ID_CHARS:
        accepted = f"an id, or '{ALL_ORGANIZATIONS}' for all"
        raise KeysError(f"{setting}: the organization of '{name}' should be {accepted}")
    if not _DIGEST.fullmatch(digest):
        accepted = "the SHA-256 of the key in 64 hexadecimal digits"
        raise KeysError(f"{setting}: the last part of '{name}' should be {accepted}")
    organization_id = None if organization == ALL_ORGANIZATIONS else organization
    return ApiKey(name, ROLES[role], organization_id, digest.lower())


ROLES = {role.name.lower(): role for role in Role}
"""Roles by the names that entries use."""
