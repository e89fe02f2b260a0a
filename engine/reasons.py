"""Reasons of failures as texts that every database stores."""

LONGEST_REASON = 4_000
"""Characters of an error's text that are kept; the whole of it is the handler's own to log."""


def fit_for_a_column(text: str) -> str:
    """``text`` without what a database refuses (NUL, lone surrogates), cut where it is endless."""
    if len(text) > LONGEST_REASON:
        text = f"{text[:LONGEST_REASON]}… ({len(text)} characters)"
    visible = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return visible.encode(errors="backslashreplace").decode()
