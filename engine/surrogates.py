r"""Lone surrogates: replaces halves of surrogate pairs, which no database stores.

JavaScript cuts strings between the two halves of a pair and writes the remaining half as an escape
(``"hi \ud83d"``). RFC 8259 (section 8.2) allows that, so it is valid JSON.
"""

import re

_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\(u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)


def replace_lone_surrogates(text: str) -> str:
    """Return a JSON text in which U+FFFD replaces every lone half of a surrogate pair.

    Both halves of a pair that is written as two escapes stay.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if _HALF_ESCAPE.search(text) is None:
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
