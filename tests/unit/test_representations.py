"""Representations: the text that Python shows of settings and configs contains no secret."""

from typing import Any

import pytest

from flows.callbacks.dispatcher import CallbackSettings
from tasks.context import HandlerSettings
from tasks.http.config import BasicAuth, BearerAuth, HeaderAuth
from tasks.secrets import Secrets

SECRET = "a-secret-value"


async def _fetch(name: str) -> str:
    return f"{SECRET}-{name}"


@pytest.mark.parametrize(
    "holder",
    [
        Secrets({"NAME": SECRET}),
        HandlerSettings(http_proxy_url=f"http://user:{SECRET}@proxy"),
        CallbackSettings(secret=SECRET),
        BearerAuth.model_validate({"type": "bearer", "token": SECRET}),
        BasicAuth.model_validate({"type": "basic", "username": "u", "password": SECRET}),
        HeaderAuth.model_validate({"type": "header", "name": "X-Key", "value": SECRET}),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_a_secret_is_not_shown(holder: Any):
    assert type(holder).__name__ in repr(holder)
    assert SECRET not in repr(holder)


async def test_a_fetched_secret_is_not_shown():
    secrets = Secrets(fetch=_fetch)
    await secrets.prepare("{{ secrets.NAME }}")
    assert secrets.get("NAME") == f"{SECRET}-NAME"
    assert SECRET not in repr(secrets)
