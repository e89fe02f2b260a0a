"""Credentials of settings: stay hidden even if a model server echoes the key."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from config import Settings
from credentials import mask_credentials
from engine.masking import MASK
from logs import configure_logging
from tasks.masking import secret_masker
from tests.api.test_secrets import surfaces
from tests.support.documents import document, node
from tests.support.servers import Request, Response, serving
from tests.support.service import RunningService

KEY = "sk-proj-4f9a8c7e6d5b3a2918"


async def refuse_and_echo(request: Request) -> Response:
    """Return 401 and the key, as some servers do for a wrong key."""
    message = f"Incorrect key in '{request.headers['authorization']}'; it was {KEY[:12]}…"
    return Response.of({"error": {"message": message}}, 401)


@pytest.mark.usefixtures("restored_logging")
def test_a_model_server_that_echoes_the_key_shows_it_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    configure_logging("DEBUG", "console")
    asking = document(node("ask", "llm", llmPrompt="Hello", retries=0))
    with (
        serving(refuse_and_echo) as url,
        RunningService(
            tmp_path, openai_api_key=SecretStr(KEY), openai_base_url=f"{url}/v1"
        ) as service,
    ):
        done = service.run(asking)
        tried = service.http.post(
            "/api/nodes/execute",
            json={
                "workflowId": "w",
                "nodeId": "ask",
                "nodeType": "llm",
                "node": asking["nodes"][0],
            },
        )
        found = {**surfaces(service, capsys), "tried": tried.content}

    assert "Incorrect key in 'Bearer ***'; it was ***…" in done["error"]
    assert MASK in tried.json()["error"]
    for name, text in found.items():
        assert KEY[:12].encode() not in text, name


@pytest.mark.parametrize(
    ("settings", "text", "masked"),
    [
        ({"openai_api_key": "sk-live-0123456789"}, "sk-live-0123456789", "***"),
        ({"openai_api_key": "ollama"}, "ollama said: Bearer ollama", "ollama said: ***"),
        ({"callback_signing_secret": "whsec_" + "QUJD" * 10}, "QUJD" * 10, "***"),
        ({"token_secret": "tok-" * 10}, "tok-" * 10, "***"),
        ({"data_encryption_key": "seal-seal-seal-0"}, "seal-seal-seal-0", "***"),
        ({"database_url": "postgresql+asyncpg://app:pa55%2Fw0rd@db/x"}, "pa55/w0rd", "***"),
        ({"database_url": "postgresql+asyncpg://app:pa55%2Fw0rd@db/x"}, "pa55%2Fw0rd", "***"),
        (
            {"database_url": "postgresql+asyncpg://app:test@db/x"},
            "a test, a:test@db",
            "a test, a***db",
        ),
        (
            {"database_url": "postgresql+asyncpg://db/x?password=hunter2hunter"},
            "hunter2hunter",
            "***",
        ),
        ({"http_proxy_url": "http://u:pr0xy-pass@proxy:3128"}, "pr0xy-pass", "***"),
        ({"openai_base_url": "https://u:m0del-pass@models.example/v1"}, "m0del-pass", "***"),
        ({"prefect_api_url": "http://u:pr3fect-pass@flows:4200/api"}, "pr3fect-pass", "***"),
    ],
)
def test_every_credential_of_the_settings_is_masked(
    settings: dict[str, Any], text: str, masked: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(secret_masker, "_encodings", frozenset[str]())
    mask_credentials(Settings(_env_file=None, **settings))  # pyright: ignore[reportCallIssue]
    assert secret_masker.mask(f"it is {text}.") == f"it is {masked}."
