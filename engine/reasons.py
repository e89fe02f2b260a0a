"""Reasons of failures as texts that every database stores."""

MAX_ERROR_CHARS = 4_000
"""Characters of an error's text that are kept; the whole of it is the handler's own to log."""


def sanitize_for_storage(text: str) -> str:
    """``text`` without what a database refuses (NUL, lone surrogates), cut where it is endless."""
    if len(text) > MAX_ERROR_CHARS:
        text = f"{text[:MAX_ERROR_CHARS]}… ({len(text)} characters)"
    visible = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return visible.encode(errors="backslashreplace").decode()
