"""Error reasons: strings that every database stores."""

MAX_ERROR_CHARS = 4_000
"""Maximum length of a stored error, in characters."""


def sanitize_for_storage(text: str) -> str:
    """Return ``text`` cut and without NUL and lone surrogates, which databases reject."""
    if len(text) > MAX_ERROR_CHARS:
        text = f"{text[:MAX_ERROR_CHARS]}… ({len(text)} characters)"
    visible = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return visible.encode(errors="backslashreplace").decode()
