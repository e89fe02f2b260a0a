"""Mail server of this machine: keeps the messages that it accepts, in memory."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

REPLIES = {
    "gone@example.com": "550 No such user",
    "busy@example.com": "451 Try again later",
}
"""Replies to recipients that the server refuses."""


@dataclass
class MailServer:
    """The accepted messages, with their envelopes."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[list[str]] = field(default_factory=list[list[str]])
    replies: list[str] = field(default_factory=list[str])
    """Replies to the next messages instead of their acceptance."""
    logins: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    async def handle_RCPT(  # noqa: N802 - the interface of the library
        self, _server: object, _session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        """Accept or refuse a recipient."""
        if reply := REPLIES.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the interface of the library
        self, _server: object, _session: Session, envelope: Envelope
    ) -> str:
        """Accept or refuse a message."""
        if self.replies:
            return self.replies.pop(0)
        content = envelope.content
        assert isinstance(content, bytes)
        parsed = message_from_bytes(content, EmailMessage, policy=SMTP)
        self.messages.append(parsed)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"

    def authenticate(self, *arguments: Any) -> AuthResult:
        """Accept one password."""
        login = arguments[-1]
        assert isinstance(login, LoginPassword)
        self.logins.append((login.login, login.password))
        return AuthResult(success=login.password == b"a good password", handled=False)


class _Controller(Controller):
    """A server on a port that the system chooses."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(*, with_login: bool = False) -> Iterator[MailServer]:
    """Run a server on a free port."""
    server = MailServer()
    controller = _Controller(
        server,
        hostname="127.0.0.1",
        port=0,
        auth_required=with_login,
        auth_require_tls=False,
        authenticator=server.authenticate if with_login else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a login without TLS
        controller.start()
        server.port = controller.port
        try:
            yield server
        finally:
            controller.stop()
