"""E-mail message: builds a message with attachments from checked addresses and texts."""

import base64
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from mimetypes import guess_type
from typing import TYPE_CHECKING

from engine.errors import PermanentError
from engine.json_values import JsonValue, as_text, is_object, kind_of

if TYPE_CHECKING:
    from datetime import datetime

MAX_RECIPIENTS = 100
"""Maximum number of recipients of one message."""
MAX_HEADER_CHARS = 500
"""Maximum length of a subject, an address or a file name, in characters."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message."""

    name: str
    content: bytes
    media_type: str
    charset: str | None = None
    """Charset of a text that the service has encoded."""


@dataclass(frozen=True, slots=True)
class Mail:
    """The filled settings of a message."""

    sender: Address
    to: Sequence[Address]
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = field(default_factory=tuple[Attachment, ...])

    @property
    def recipients(self) -> list[str]:
        """The distinct addresses of all recipients."""
        every = (*self.to, *self.cc, *self.bcc)
        return list(dict.fromkeys(address.addr_spec for address in every))

    def as_message(self, idempotency_key: str | None, now: "datetime") -> EmailMessage:
        """Return the message; equal keys return the same ``Message-ID``, in every attempt.

        Hidden recipients (``bcc``) are not part of it.
        """
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = tuple(self.to)
        if self.cc:
            message["Cc"] = tuple(self.cc)
        message["Subject"] = self.subject
        message["Date"] = format_datetime(now)
        if idempotency_key is not None:
            name = sha256(idempotency_key.encode("utf-8", "replace")).hexdigest()[:32]
            message["Message-ID"] = f"<{name}@{self.sender.domain}>"
        message.set_content(self.text or "")
        if self.html is not None:
            if self.text is None:
                message.set_content(self.html, subtype="html")
            else:
                message.add_alternative(self.html, subtype="html")
        for each in self.attachments:
            main, _, sub = each.media_type.partition("/")
            message.add_attachment(
                each.content,
                maintype=main,
                subtype=sub,
                filename=each.name,
                params=None if each.charset is None else {"charset": each.charset},
            )
        return message


def one_line(setting: str, value: str) -> str:
    """Return a text of a header.

    Raises:
        PermanentError: If it has a line break or another control character, or is too long.
    """
    if match := _CONTROL.search(value):
        code = f"U+{ord(match[0]):04X}"
        raise PermanentError(f"{setting}: has the control character {code}; it must be one line")
    if len(value) > MAX_HEADER_CHARS:
        raise PermanentError(f"{setting}: is longer than {MAX_HEADER_CHARS} characters")
    return value.strip()


def address_of(setting: str, value: str) -> Address:
    """Return one address, ``ada@example.com`` or ``Ada <ada@example.com>``.

    Raises:
        PermanentError: If it is not exactly one address.
    """
    text = one_line(setting, value)
    found: Sequence[Address] = ()
    with suppress(ValueError, IndexError, HeaderParseError):
        header = SMTP.header_factory("To", text)
        found = () if header.defects else header.addresses
    if len(found) != 1 or not (found[0].username and found[0].domain):
        raise PermanentError(f"{setting}: '{text}' is not one e-mail address")
    return found[0]


def attachment_of(position: int, name: str, value: JsonValue) -> Attachment:
    """Return the attachment of a value: a file ``{"base64", "contentType"}``, or a text.

    Other objects and lists are attached as JSON.

    Raises:
        PermanentError: If the name is not one line, or the base64 is invalid.
    """
    setting = f"emailAttachments[{position}]"
    name = one_line(setting, name).replace("/", "_").replace("\\", "_")
    guessed = guess_type(name)[0]
    if is_object(value) and isinstance(text := value.get("base64"), str):
        try:
            content = base64.b64decode(text, validate=True)
        except ValueError:
            raise PermanentError(f"{setting}: its 'base64' is not valid") from None
        sent = as_text(value.get("contentType") or "").partition(";")[0].strip()
        kind = sent if _MEDIA_TYPE.fullmatch(sent) else guessed or "application/octet-stream"
        return Attachment(name, content, _as_file(kind))
    if value is None:
        raise PermanentError(f"{setting}: has no content, but a value of type {kind_of(value)}")
    media_type = guessed or ("text/plain" if isinstance(value, str) else "application/json")
    content = as_text(value).encode("utf-8", "replace")
    return Attachment(name, content, _as_file(media_type), "utf-8")


def _as_file(media_type: str) -> str:
    """Return the type of an attachment; a message inside a message would be parsed."""
    main = media_type.partition("/")[0].lower()
    return "application/octet-stream" if main in ("message", "multipart") else media_type
