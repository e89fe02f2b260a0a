"""Tokens for browsers: a JWT (RFC 7519) that reads one execution, and for a short while."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt

from database import Clock

ALGORITHM = "HS256"
SCOPE = "read"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says: whose it is to read, and until when."""

    execution_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    """Issues tokens, and reads those that services with the same secret have issued."""

    secret: str
    seconds: int
    clock: Clock

    def issue(self, execution_id: str) -> tuple[str, Token]:
        """A new token, and what it says."""
        now = self.clock().replace(microsecond=0)
        token = Token(execution_id, now + timedelta(seconds=self.seconds))
        claims = {"sub": execution_id, "scope": SCOPE, "iat": now, "exp": token.expires_at}
        return jwt.encode(claims, self.secret, ALGORITHM), token

    def read(self, text: str) -> Token | None:
        """What a token says; ``None`` where it is none of ours, was changed, or has expired."""
        try:
            claims = jwt.decode(
                text,
                self.secret,
                algorithms=[ALGORITHM],  # not what the token says of itself
                # The time is this clock's to say, below.
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
