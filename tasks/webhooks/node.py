"""Webhook node: starts an execution when a request arrives, and passes the received data on."""

from typing import Annotated, Any

from prefect import task
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from engine.json_values import JsonValue
from tasks.compute import success
from tasks.config.base import NodeConfig
from tasks.config.fields import SECRET, lower
from tasks.webhooks.signatures import SignatureScheme, check_secret, check_token

_BASE64 = r"(whsec_)?(([A-Za-z0-9+/]{4})+([A-Za-z0-9+/]{2,3})?|[A-Za-z0-9+/]{2,3})=*"
_TEXT_OR_NAME = (
    r"^(?=[\s\S]*\S)(?![\s\S]*\{\{)|^\s*\{\{\s*secrets\.[A-Za-z_][A-Za-z0-9_]*\s*\}\}\s*$"
)
_KEY = rf"^\s*({_BASE64}|\{{\{{\s*secrets\.[A-Za-z_][A-Za-z0-9_]*\s*\}}\}})\s*$"


_OWN_SECRET_SCHEMES = [scheme.value for scheme in SignatureScheme if scheme != "standard"]
_SECRET_REQUIRED: dict[str, JsonValue] = {
    "if": {
        "properties": {"webhookSignature": {"enum": [*_OWN_SECRET_SCHEMES]}},
        "required": ["webhookSignature"],
    },
    "then": {
        "properties": {"webhookSecret": {"type": "string", "pattern": _TEXT_OR_NAME}},
        "required": ["webhookSecret"],
    },
    "else": {"properties": {"webhookSecret": {"type": "string", "pattern": _KEY}}},
}


class WebhookConfig(
    NodeConfig,
    title="Webhook",
    category="start",
    inputs=(),
    pure=True,
    json_schema_extra=_SECRET_REQUIRED,
):
    """Starts an execution when a request arrives, and passes the received data on."""

    webhook_token: Annotated[str | None, AfterValidator(check_token)] = Field(
        default=None, title="Token", repr=False, json_schema_extra={**SECRET, "pattern": "^[^/]*$"}
    )
    """The last part of the webhook's address; requests without it are rejected."""
    # Declared before the secret, because the secret's validator reads it.
    webhook_signature: Annotated[SignatureScheme, BeforeValidator(lower)] = Field(
        default=SignatureScheme.STANDARD, title="Signature"
    )
    """The scheme of the signature: Standard Webhooks, or that of GitHub, Stripe or Slack."""
    webhook_secret: str | None = Field(
        default=None, title="Secret", repr=False, validate_default=True, json_schema_extra=SECRET
    )
    """The key with which the sender signs its deliveries, or ``{{ secrets.NAME }}``; base64 for
    ``standard``."""

    @field_validator("webhook_secret")
    @classmethod
    def _is_usable(cls, secret: str | None, info: ValidationInfo) -> str | None:
        scheme = info.data.get("webhook_signature")
        if scheme is None:  # the scheme is invalid, which is an error of its own
            return secret
        if secret is not None:
            return check_secret(secret, scheme)
        if scheme != SignatureScheme.STANDARD:
            raise ValueError(f"is required when webhookSignature is {scheme}")
        return None


@task(name="webhook")
async def handle_webhook(
    node: dict[str, Any],  # noqa: ARG001 - every handler takes a node and an input
    input_data: JsonValue,
) -> dict[str, JsonValue]:
    """Pass the received data on; ``{}`` if there is none."""
    return success("Webhook received", {} if input_data is None else input_data)
