"""SMTP settings: the mail server of ``sendEmail`` nodes."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """The mail server, which only the operator chooses."""

    host: str | None = None
    """``None`` if no server is set, so that no e-mail is sent."""
    port: int = 587
    tls: str = "starttls"
    """``starttls``, ``tls`` from the first byte, or ``none``."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str | None = None
    """The sender of every message."""
    timeout_seconds: float = 30.0
    max_message_bytes: int = 10_485_760
