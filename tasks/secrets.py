"""Secrets as templates reach them: ``{{ secrets.NAME }}``.

The composition root gives the values of the settings; where a Prefect server is used, what they do
not have is asked of its Secret blocks before a node runs.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import structlog

from engine.errors import NodeError, SecretUnavailableError
from engine.json_values import MISSING, JsonValue, Missing
from tasks.masking import secret_masker

log = structlog.get_logger()

_NAMED = re.compile(r"\bsecrets(?:\.|\[\s*['\"])([A-Za-z_][A-Za-z0-9_]*)")

Fetch = Callable[[str], Awaitable[str | None]]
"""Looks a secret up elsewhere; ``None`` where there is none. Raises when it cannot be asked for."""


@dataclass(slots=True)
class Secrets:
    """The secrets of the service; their values are masked wherever they would be shown."""

    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    fetch: Fetch | None = None
    _fetched: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        for value in self.values.values():
            secret_masker.add_secret(value)

    def get(self, name: str) -> str | Missing:
        """The value of a secret, or ``MISSING``."""
        if name in self.values:
            return self.values[name]
        return self._fetched.get(name, MISSING)

    async def prepare(self, config: JsonValue) -> None:
        """Has what the texts of ``config`` name, as it is now, at hand for ``get``.

        Raises:
            SecretUnavailableError: one from elsewhere cannot be asked for.
            NodeError: one from elsewhere is too short to be masked; names it.
        """
        if self.fetch is None:
            return
        for name in {name for text in _texts(config) for name in _NAMED.findall(text)}:
            if name in self.values:
                continue
            value = await self._ask(self.fetch, name)
            if value is None:
                self._fetched.pop(name, None)
                continue
            try:
                secret_masker.add_secret(value)
            except ValueError as error:
                raise NodeError(f"the secret '{name}' {error}", retryable=False) from None
            self._fetched[name] = value

    async def _ask(self, fetch: Fetch, name: str) -> str | None:
        try:
            return await fetch(name)
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody knows the value
            # By its type alone: the text may hold what the server sent, and that is not masked yet.
            log.warning("secret_unavailable", secret=name, error=type(error).__name__)
        raise SecretUnavailableError(name)


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        if "secrets" in value:
            yield value
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, JsonValue]", value).items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for item in cast("list[JsonValue]", value):
            yield from _texts(item)
