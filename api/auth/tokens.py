"""Tokens: JWTs (RFC 7519) with which browsers read one execution, or answer one task."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from database import Clock

ALGORITHM = "HS256"
TASK_PAGES = "/task/"
"""Path of the pages of tasks; a token follows."""
SCOPE = "read"
TASK_SCOPE = "task"


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token: the execution that it reads, and its expiration."""

    execution_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TaskToken:
    """The claims of a link: the task, and the person that answers it, or ``""``."""

    task_id: str
    assignee: str


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

    def issue_task(self, task: TaskToken, expires_at: datetime) -> str:
        """Return a new token for a link to a task."""
        import jwt  # noqa: PLC0415 - as above

        claims = {"sub": task.task_id, "scope": TASK_SCOPE, "assignee": task.assignee}
        return jwt.encode({**claims, "exp": expires_at}, self.secret, ALGORITHM)

    def read_task(self, text: str) -> TaskToken | None:
        """Return the claims of a link; ``None`` if its signature is invalid or it has expired."""
        found = self._claims(text, TASK_SCOPE)
        return None if found is None else TaskToken(found[0]["sub"], found[0].get("assignee", ""))

    def read(self, text: str) -> Token | None:
        """Return the claims of a token; ``None`` if its signature is invalid or it has expired."""
        found = self._claims(text, SCOPE)
        return None if found is None else Token(found[0]["sub"], found[1])

    def _claims(self, text: str, scope: str) -> tuple[dict[str, Any], datetime] | None:
        """Return the claims of a token with this scope, and its expiration."""
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
            expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, OSError):
            return None
        if claims["scope"] != scope or expires_at <= self.clock():
            return None
        return claims, expires_at
