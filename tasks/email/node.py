"""sendEmail node: sends an e-mail through the mail server of the settings."""

import html
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import task
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from engine.errors import PermanentError
from engine.json_values import JsonValue, as_text, is_list
from tasks.compute import compute, success
from tasks.config.base import (
    TEMPLATED,
    FormModel,
    NodeConfig,
    fill,
    fill_text,
    has_template,
    read_config,
)
from tasks.config.fields import LONG_TEXT
from tasks.context import current_node_run
from tasks.email.message import (
    MAX_RECIPIENTS,
    Attachment,
    Mail,
    address_of,
    attachment_of,
    one_line,
)
from tasks.email.smtp import send
from tasks.smtp_settings import SmtpSettings
from tasks.templating.render import is_placeholder, split_placeholders

MAX_ATTACHMENTS = 20
"""Maximum number of attachments of one message."""
_SEPARATOR = re.compile(r"[,;\n](?![^{]*\}\})")
"""A comma, semicolon or line break outside a placeholder."""


def _as_addresses(value: object) -> object:
    """Return the items of a string that commas separate; a list is unchanged."""
    if isinstance(value, str):
        return [item.strip() for item in _SEPARATOR.split(value) if item.strip()]
    return value


_Addresses = Annotated[
    list[Annotated[str, Field(title="Address")]],
    BeforeValidator(_as_addresses, json_schema_input_type=list[str]),
    TEMPLATED,
]


class EmailAttachment(FormModel, title="Attachment"):
    """One file of the message."""

    name: str = Field(title="File name")
    """The name of the file; may contain templates."""
    data: JsonValue = Field(default=None, title="Content")
    """A file such as the output of ``http``, ``{"base64", "contentType"}``, or a text; may be a
    template. Other values are attached as JSON."""


class SendEmailConfig(NodeConfig, title="Send e-mail", category="call"):
    """Sends an e-mail through the mail server that the operator has set."""

    email_to: _Addresses = Field(title="To", min_length=1, json_schema_extra={"minItems": 1})
    """Addresses: a list, or a string with commas; may contain templates."""
    email_cc: _Addresses = Field(default_factory=list[str], title="Copy")
    """Addresses that receive a copy."""
    email_bcc: _Addresses = Field(default_factory=list[str], title="Blind copy")
    """Addresses that receive a copy, and that no other recipient sees."""
    email_subject: Annotated[str, TEMPLATED] = Field(default="", title="Subject")
    """The subject; may contain templates."""
    email_text: Annotated[str | None, TEMPLATED] = Field(
        default=None, title="Text", json_schema_extra=LONG_TEXT
    )
    """The plain text; may contain templates."""
    email_html: Annotated[str | None, TEMPLATED] = Field(
        default=None, title="HTML", json_schema_extra=LONG_TEXT
    )
    """The HTML; values of its templates are escaped."""
    email_attachments: Annotated[list[EmailAttachment], TEMPLATED] = Field(
        default_factory=list[EmailAttachment], title="Attachments", max_length=MAX_ATTACHMENTS
    )
    """Files of the message."""

    @field_validator("email_to", "email_cc", "email_bcc")
    @classmethod
    def _are_addresses(cls, addresses: list[str], info: ValidationInfo) -> list[str]:
        for text in addresses:
            if not has_template(text):
                try:
                    address_of(str(info.field_name), text)
                except PermanentError as error:
                    raise ValueError(str(error).partition(": ")[2]) from None
        return addresses


@task(name="sendEmail")
async def handle_send_email(node: dict[str, Any], input_data: JsonValue) -> dict[str, JsonValue]:
    """Send an e-mail; the output names the accepted and the refused recipients."""
    config = read_config(SendEmailConfig, node)
    run = current_node_run()
    smtp = run.settings.smtp
    if smtp.host is None or smtp.sender is None:
        raise PermanentError("no mail server is set: SMTP_HOST and SMTP_FROM are required")
    mail = await compute((node, input_data), _mail_of, config, input_data, smtp)
    message = mail.as_message(run.idempotency_key, datetime.now(UTC))
    size = len(message.as_bytes())
    if size > smtp.max_message_bytes:
        limit = smtp.max_message_bytes
        raise PermanentError(f"the message has {size} bytes; SMTP_MAX_MESSAGE_BYTES allows {limit}")
    sent = await send(smtp, message, mail.sender.addr_spec, mail.recipients)
    output: dict[str, JsonValue] = {
        "messageId": message["Message-ID"],
        "accepted": list(sent.accepted),
        "refused": dict(sent.refused),
    }
    return success(f"Sent to {len(sent.accepted)} recipients", output)


def _mail_of(config: SendEmailConfig, data: JsonValue, smtp: SmtpSettings) -> Mail:
    to, cc, bcc = (
        [address_of(key, text) for template in templates for text in _filled(key, template, data)]
        for key, templates in (
            ("emailTo", config.email_to),
            ("emailCc", config.email_cc),
            ("emailBcc", config.email_bcc),
        )
    )
    if not to:
        raise PermanentError("emailTo: has no address")
    if (count := len(to) + len(cc) + len(bcc)) > MAX_RECIPIENTS:
        raise PermanentError(f"the message has {count} recipients; {MAX_RECIPIENTS} are allowed")
    subject = one_line("emailSubject", fill_text("emailSubject", config.email_subject, data))
    text = config.email_text
    attachments: list[Attachment] = []
    for position, each in enumerate(config.email_attachments):
        name = fill_text("emailAttachments", each.name, data)
        value = fill("emailAttachments", each.data, data)
        attachments.append(attachment_of(position, name, value))
    return Mail(
        address_of("SMTP_FROM", smtp.sender or ""),
        to,
        cc,
        bcc,
        subject,
        None if text is None else fill_text("emailText", text, data),
        None if config.email_html is None else _filled_html(config.email_html, data),
        attachments,
    )


def _filled(setting: str, template: str, data: JsonValue) -> list[str]:
    """Return the addresses of one item; only a single placeholder may return several.

    A value inside other text cannot add recipients, because the result must be one address.
    """
    value = fill(setting, template, data)
    if not is_placeholder(template):
        return [as_text(value)]
    if is_list(value):
        return [as_text(item) for item in value]
    return [item for item in as_text(value).split(",") if item.strip()]


def _filled_html(template: str, data: JsonValue) -> str:
    literals, placeholders = split_placeholders(template)
    filled = [html.escape(fill_text("emailHtml", each, data)) for each in placeholders]
    return "".join(part for pair in zip(literals, [*filled, ""], strict=True) for part in pair)
