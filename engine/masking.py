"""Masking: replaces the values of credential headers by the mask."""

from collections.abc import Mapping

from engine.credential_headers import is_credential_header

MASK = "***"


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return ``headers`` with a mask for the value of every credential header."""
    return {name: MASK if is_credential_header(name) else value for name, value in headers.items()}
