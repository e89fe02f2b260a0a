"""Execution tokens: JWTs (RFC 7519) with which browsers read one execution for a short time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from database import Clock

ALGORITHM = "HS256"
SCOPE = "read"


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token: the execution that it reads, and its expiration."""

    execution_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """Issues tokens, and verifies those of all services with the same secret."""

    secret: str
    ttl_seconds: int
    clock: Clock

    def issue(self, execution_id: str) -> tuple[str, Token]:
        """Return a new token and its claims."""
        import jwt  # noqa: PLC0415 - 9 MB that only tokens need

        now = self.clock().replace(microsecond=0)
        token = Token(execution_id, now + timedelta(seconds=self.ttl_seconds))
        claims = {"sub": execution_id, "scope": SCOPE, "iat": now, "exp": token.expires_at}
        return jwt.encode(claims, self.secret, ALGORITHM), token

    def read(self, text: str) -> Token | None:
        """Return the claims of a token; ``None`` if its signature is invalid or it has expired."""
        import jwt  # noqa: PLC0415 - as above

        try:
            claims = jwt.decode(
                text,
                self.secret,
                algorithms=[ALGORITHM],  # never the algorithm that the token names
                # The expiration is checked below with ``clock``.
                options={
                    "require": ["sub", "scope", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            token = Token(claims["sub"], datetime.fromtimestamp(int(claims["exp"]), UTC))
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, OSError):
            return None
        if claims["scope"] != SCOPE or token.expires_at <= self.clock():
            return None
        return token
