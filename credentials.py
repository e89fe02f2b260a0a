"""Credentials in the settings: registers them to be masked in results, errors and log lines."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from config import Settings, otel_variables
from setting_types import connections_of
from tasks.masking import secret_masker

MIN_CREDENTIAL_LENGTH = 8
"""Minimum length of a credential that is masked wherever it appears, in characters. Local servers
have keys such as ``ollama`` and passwords such as ``test``, which are also ordinary words, so they
are masked only where they are used as a credential (``Bearer ollama``, ``:test@``)."""

_CREDENTIAL_NAME = re.compile("password|passwd|secret|token|key", re.IGNORECASE)


def mask_credentials(settings: Settings) -> None:
    """Mask every credential of the settings from now on, passwords in URLs included."""
    for secret in (
        settings.openai_api_key,
        settings.callback_signing_secret,
        settings.token_secret,
        settings.data_encryption_key,
        settings.smtp_password,
    ):
        if secret is not None:
            value = secret.get_secret_value().strip()
            for part in {value, value.removeprefix("whsec_")}:
                _mask(part, f"Bearer {part}")
    for value in _collector_headers():
        _mask(value, value)
    for url in _urls(settings):
        for password in _passwords(url):
            _mask(password, f":{password}@")


def _collector_headers() -> Iterator[str]:
    """Yield the values of the headers for a collector of traces, which contain its credentials."""
    for name, text in otel_variables().items():
        if name.endswith("_HEADERS"):
            for pair in text.split(","):
                value = pair.partition("=")[2].strip()
                yield from {value, unquote(value), unquote(value).rpartition(" ")[2]}


def _mask(value: str, in_use: str) -> None:
    if len(value) >= MIN_CREDENTIAL_LENGTH:
        secret_masker.add_secret(value)
    elif value:
        secret_masker.add_literal(in_use)


def _urls(settings: Settings) -> Iterator[str]:
    for secret in (settings.database_url, settings.http_proxy_url):
        if secret is not None:
            yield secret.get_secret_value()
    if settings.sql_connections is not None:
        yield from connections_of(settings.sql_connections).values()
    yield settings.openai_base_url or ""
    yield settings.prefect_api_url or ""


def _passwords(url: str) -> set[str]:
    """Return the password and the credentials in the query of a URL, as written and decoded."""
    # Not by urlsplit: it raises for addresses that the checks of the settings report better.
    address, _, query = url.partition("://")[2].partition("?")
    userinfo, at, _ = address.partition("/")[0].rpartition("@")
    written = {userinfo.partition(":")[2]} if at else set[str]()
    for pair in query.partition("#")[0].split("&"):
        name, _, value = pair.partition("=")
        if _CREDENTIAL_NAME.search(name):
            written.add(value)
    return written | {unquote(value) for value in written}
