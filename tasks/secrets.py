"""Secrets: the values of ``{{ secrets.NAME }}`` in templates.

The composition root passes the values from the settings. If a Prefect server is configured, other
secrets are fetched from its Secret blocks before a node runs.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from engine.errors import PermanentError, SecretUnavailableError
from engine.json_values import MISSING, JsonValue, Missing, encode_json
from tasks.masking import secret_masker

log = structlog.get_logger()

_REFERENCE = re.compile(r"""\bsecrets(?:\.|\[\s*(?:'|\\"))([A-Za-z_][A-Za-z0-9_]*)""")
"""A reference in JSON text, in which quotation marks are escaped."""

Fetch = Callable[[str], Awaitable[str | None]]
"""Returns a secret from another source, or ``None``; raises if the source is unavailable."""


@dataclass(slots=True)
class Secrets:
    """The secrets of the service; their values are masked in all output."""

    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    fetch: Fetch | None = None
    _fetched: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        for value in self.values.values():
            secret_masker.add_secret(value)

    def get(self, name: str) -> str | Missing:
        """Return the value of a secret, or ``MISSING``."""
        if name in self.values:
            return self.values[name]
        return self._fetched.get(name, MISSING)

    async def prepare(self, config: JsonValue) -> None:
        """Fetch the current values of the secrets that ``config`` names, so that ``get`` has them.

        Raises a ``SecretUnavailableError`` if the source of a secret is unavailable, and another
        ``NodeError`` if a secret is too short to be masked.
        """
        if self.fetch is None:
            return
        for name in set(_REFERENCE.findall(encode_json(config))):
            if name in self.values:
                continue
            value = await self._fetch(self.fetch, name)
            if value is None:
                self._fetched.pop(name, None)
                continue
            try:
                secret_masker.add_secret(value)
            except ValueError as error:
                raise PermanentError(f"the secret '{name}' {error}") from None
            self._fetched[name] = value

    async def _fetch(self, fetch: Fetch, name: str) -> str | None:
        try:
            return await fetch(name)
        except Exception as error:  # noqa: BLE001 - the source may raise any error
            # Without the message, because it may contain the secret, which is not masked yet.
            log.warning("secret_unavailable", secret=name, error=type(error).__name__)
        raise SecretUnavailableError(name)
