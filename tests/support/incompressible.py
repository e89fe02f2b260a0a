"""Incompressible text: PostgreSQL compresses index keys, so that ``"x" * n`` fits at any length."""

import random
import string
import zlib

MAX_INDEX_ENTRY_BYTES = 2_704
"""Maximum size of an entry of a PostgreSQL index, after compression, in bytes."""

_ASCII = string.ascii_letters + string.digits + "-_"
_WIDE = "".join(map(chr, range(0x4E00, 0x9FA5)))
"""Characters of three bytes in UTF-8."""


def incompressible(length: int, seed: int = 0, *, wide: bool = False) -> str:
    """Return ``length`` random characters of ASCII, or of three bytes each."""
    text = "".join(random.Random(seed).choices(_WIDE if wide else _ASCII, k=length))
    size = len(text.encode())
    assert len(zlib.compress(text.encode(), 9)) > size * 0.7
    return text
