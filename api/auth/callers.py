"""Callers: identifies the owner of an API key or of a token."""

from dataclasses import dataclass
from datetime import datetime

from api.auth.api_keys import ApiKeys, Role
from api.auth.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client, with its permissions."""

    name: str
    role: Role
    organization_id: str | None = None
    """The only organization that the caller can access; ``None`` for all."""
    execution_id: str | None = None
    """The only execution that the caller can access, if it has a token."""
    expires_at: datetime | None = None
    """The time at which the caller's token expires."""


ANONYMOUS = Caller("anonymous", Role.ADMIN)
"""The caller of a public route, and of every route if no keys are set."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Identifies callers by their API keys and tokens."""

    keys: ApiKeys
    tokens: Tokens

    @property
    def is_open(self) -> bool:
        """Whether no keys are set, so that every client has all permissions."""
        return not self.keys.keys

    def authenticate(self, credential: bytes) -> Caller | None:
        """Return the owner of a key or a token; ``None`` if it is neither."""
        key = self.keys.find(credential)
        if key is not None:
            return Caller(key.name, key.role, key.organization_id)
        return self.authenticate_token(credential)

    def authenticate_token(self, credential: bytes) -> Caller | None:
        """Return the owner of a token; ``None`` if it is invalid or has expired."""
        token = self.tokens.read(credential.decode("ascii", "replace"))
        if token is None:
            return None
        return Caller("token", Role.READ, None, token.execution_id, token.expires_at)
