"""sendEmail: messages to a real mail server of this machine, and values that must not reach it."""

import base64
import re
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import NodeError, PermanentError
from tasks.config.base import config_errors
from tasks.context import HandlerSettings, NodeRun, within_node_run
from tasks.email.node import SendEmailConfig, handle_send_email
from tasks.smtp_settings import SmtpSettings
from tests.support.mail_server import MailServer, mail_server

FILE = {"base64": base64.b64encode(b"\x00PDF").decode(), "contentType": "application/pdf"}


@pytest.fixture(scope="module")
def started() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def server(started: MailServer) -> MailServer:
    for found in (started.messages, started.recipients, started.replies):
        found.clear()
    return started


async def send(
    server: MailServer, data: Any = None, settings: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    smtp = SmtpSettings(
        **{
            "host": "127.0.0.1",
            "port": server.port,
            "tls": "none",
            "sender": "Workflows <flows@example.com>",
            "timeout_seconds": 20.0,
            **(settings or {}),
        }
    )
    node = {"id": "mail", "type": "sendEmail", "config": {"emailTo": "ada@example.com", **config}}
    with within_node_run(NodeRun(HandlerSettings(smtp=smtp), "execution", "mail")):
        return await handle_send_email.fn(node, data)


async def test_a_message_has_texts_files_and_hidden_recipients(server: MailServer) -> None:
    data = {"name": "<Ada>", "team": ["bob@example.com", "Cy <cy@example.com>"], "file": FILE}
    result = await send(
        server,
        data,
        emailTo="Ada <ada@example.com>, {{ team }}",
        emailCc=["copy@example.com"],
        emailBcc="hidden@example.com",
        emailSubject="Invoice for {{ name }} ñ",
        emailText="Dear {{ name }}",
        emailHtml="<p>Dear {{ name }}</p>",
        emailAttachments=[
            {"name": "a/b.pdf", "data": "{{ file }}"},
            {"name": "note.txt", "data": "Hello ñ"},
            {"name": "all.json", "data": "{{ team }}"},
        ],
    )
    (message,), (recipients,) = server.messages, server.recipients
    assert recipients == [
        *("ada@example.com", "bob@example.com", "cy@example.com"),
        *("copy@example.com", "hidden@example.com"),
    ]
    assert result["outputData"] == {
        "messageId": message["Message-ID"],
        "accepted": recipients,
        "refused": {},
    }
    assert message["From"] == "Workflows <flows@example.com>"
    assert message["Subject"] == "Invoice for <Ada> ñ"
    assert "hidden" not in message.as_string()
    text, page = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert page is not None
    assert text.get_content().strip() == "Dear <Ada>"
    assert page.get_content().strip() == "<p>Dear &lt;Ada&gt;</p>"
    files = {part.get_filename(): part for part in message.iter_attachments()}
    assert files["a_b.pdf"].get_content() == b"\x00PDF"
    assert files["a_b.pdf"].get_content_type() == "application/pdf"
    assert files["note.txt"].get_content().strip() == "Hello ñ"
    assert "cy@example.com" in files["all.json"].get_content().decode()
    again = await send(server, data)
    assert again["outputData"]["messageId"] == message["Message-ID"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"emailSubject": "{{ bad }}"}, "control character U+000D"),
        ({"emailTo": "{{ bad }}"}, "control character"),
        ({"emailTo": "x-{{ more }}@example.com"}, "is not one e-mail address"),
        ({"emailTo": "Ada <{{ more }}>"}, "is not one e-mail address"),
        ({"emailTo": "{{ many }}"}, "101 recipients"),
        ({"emailTo": "{{ none }}"}, "has no address"),
        ({"emailTo": ["{{ half }}"]}, "is not one e-mail address"),
        ({"emailAttachments": [{"name": "{{ bad }}", "data": "x"}]}, "control character"),
        ({"emailAttachments": [{"name": "x", "data": {"base64": "?"}}]}, "'base64' is not valid"),
        ({"emailAttachments": [{"name": "x"}]}, "has no content"),
        ({"emailText": "{{ large }}"}, "SMTP_MAX_MESSAGE_BYTES allows 2000"),
    ],
)
async def test_invalid_values_send_nothing(
    server: MailServer, config: dict[str, Any], reason: str
) -> None:
    data = {
        "bad": "a@example.com\r\nBcc: eve@example.com",
        "more": "y@evil.example, z",
        "many": [f"a{n}@example.com" for n in range(101)],
        "none": [],
        "half": "ada@",
        "large": "x" * 3_000,
    }
    with pytest.raises(PermanentError, match=re.escape(reason)):
        await send(server, data, {"max_message_bytes": 2_000}, **config)
    assert server.messages == []


@pytest.mark.parametrize(
    ("reply", "retryable"), [("452 Insufficient storage", True), ("554 Spam", False)]
)
async def test_a_code_of_the_server_decides_whether_a_retry_may_help(
    server: MailServer, reply: str, retryable: bool
) -> None:
    server.replies.append(reply)
    with pytest.raises(NodeError, match=reply) as raised:
        await send(server)
    assert raised.value.retryable is retryable
    for address, temporary in (("gone@example.com", False), ("busy@example.com", True)):
        with pytest.raises(NodeError, match=address) as raised:
            await send(server, emailTo=address)
        assert raised.value.retryable is temporary


async def test_accepted_recipients_get_the_message_when_others_are_refused(
    server: MailServer,
) -> None:
    result = await send(server, emailTo="ada@example.com, gone@example.com")
    assert result["outputData"]["accepted"] == ["ada@example.com"]
    assert result["outputData"]["refused"] == {"gone@example.com": "550 No such user"}
    assert server.recipients == [["ada@example.com"]]


async def test_a_server_that_is_missing_or_away_is_an_error(server: MailServer) -> None:
    with pytest.raises(PermanentError, match="SMTP_HOST and SMTP_FROM"):
        await send(server, settings={"host": None})
    with pytest.raises(NodeError, match="cannot be reached") as raised:
        await send(server, settings={"port": 1})
    assert raised.value.retryable
    # The server has no STARTTLS, so that nothing is sent in the clear.
    with pytest.raises(NodeError):
        await send(server, settings={"tls": "starttls"})
    assert server.messages == []


async def test_a_login_uses_the_password_of_the_settings() -> None:
    with mail_server(with_login=True) as server:
        login = {"username": "flows", "password": "a good password"}
        await send(server, settings=login)
        assert server.logins == [(b"flows", b"a good password")]
        with pytest.raises(PermanentError) as raised:
            await send(server, settings={**login, "password": "a wrong password"})
        assert "password" not in str(raised.value)
        assert "a wrong password" not in repr(SmtpSettings(password="a wrong password"))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "is required"),
        ({"emailTo": "ada@"}, "is not one e-mail address"),
        ({"emailTo": "a@example.com", "emailCc": ["a@example.com, b@example.com"]}, "not one"),
        ({"emailTo": "a@example.com", "emailAttachments": [{"data": "x"}]}, "is required"),
    ],
)
def test_invalid_configs_are_rejected(config: dict[str, Any], reason: str) -> None:
    (error,) = config_errors(SendEmailConfig, config)
    assert reason in error.reason
