"""SMTP client: sends one message through the mail server of the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from ssl import SSLError

from engine.errors import NodeError, PermanentError
from tasks.smtp_settings import SmtpSettings

FIRST_PERMANENT_CODE = 500
"""SMTP codes from this one on are permanent failures (RFC 5321, section 4.2.1)."""
MAX_REPLY_CHARS = 300
"""Maximum length of the server's reply in an error, in characters."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The recipients that the server accepted, and its replies for the others."""

    accepted: list[str]
    refused: dict[str, str]


async def send(
    settings: SmtpSettings, message: EmailMessage, sender: str, recipients: Sequence[str]
) -> Delivery:
    """Send a message to all recipients that the server accepts.

    Raises:
        PermanentError: If the server refuses the message, the login or all recipients for good.
        NodeError: If a further attempt may succeed.
    """
    import aiosmtplib as smtp  # noqa: PLC0415 - only nodes that send e-mails need it

    assert settings.host is not None
    client = smtp.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        timeout=settings.timeout_seconds,
        use_tls=settings.tls == "tls",
        start_tls=settings.tls == "starttls",
    )
    server = f"the mail server {settings.host}:{settings.port}"
    try:
        async with client:
            errors, _ = await client.send_message(message, sender=sender, recipients=recipients)
    except smtp.SMTPRecipientsRefused as error:
        refused = {each.recipient: _reply(each.code, each.message) for each in error.recipients}
        permanent = all(each.code >= FIRST_PERMANENT_CODE for each in error.recipients)
        reasons = "; ".join(f"{name}: {reply}" for name, reply in refused.items())
        raise _failure(f"{server} refused every recipient: {reasons}", permanent) from None
    except smtp.SMTPResponseException as error:
        reply = _reply(error.code, error.message)
        permanent = error.code >= FIRST_PERMANENT_CODE
        raise _failure(f"{server} refused the message: {reply}", permanent) from None
    except smtp.SMTPNotSupported as error:
        raise PermanentError(f"{server} does not support it: {error}") from None
    except SSLError as error:
        raise PermanentError(f"{server} has no valid certificate: {error}") from None
    except (smtp.SMTPException, OSError) as error:
        raise NodeError(f"{server} cannot be reached: {error}") from None
    refused = {name: _reply(response.code, response.message) for name, response in errors.items()}
    return Delivery([name for name in recipients if name not in refused], refused)


def _failure(reason: str, permanent: bool) -> NodeError:  # noqa: FBT001 - an internal choice
    return PermanentError(reason) if permanent else NodeError(reason)


def _reply(code: int, message: str) -> str:
    text = " ".join(message.split())
    return f"{code} {text[:MAX_REPLY_CHARS]}"
