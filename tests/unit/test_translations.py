"""Translations: the Spanish README has the structure, commands and links of the English one."""

import re
from collections import Counter

import pytest

from tests.support.doc_blocks import ROOT, blocks_of

ORIGINAL, TRANSLATION = ROOT / "README.md", ROOT / "README.es.md"
OTHER_LANGUAGE = {"README.md", "README.es.md"}
"""The links from one to the other."""


def _headings(text: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


def _first_cells(text: str) -> list[str]:
    return re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)


def _links(text: str) -> Counter[str]:
    targets = re.findall(r"\]\(([^)]+)\)|<(https?://[^>]+)>", text)
    return Counter({"".join(pair) for pair in targets} - OTHER_LANGUAGE)


def _images(text: str) -> list[str]:
    return re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)


def test_the_code_blocks_are_equal() -> None:
    original = [(block.language, block.text) for block in blocks_of(ORIGINAL)]
    assert original
    assert [(block.language, block.text) for block in blocks_of(TRANSLATION)] == original


@pytest.mark.parametrize("part", [_headings, _first_cells, _links, _images])
def test_the_structure_is_equal(part) -> None:
    texts = [
        re.sub(
            r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        for page in (ORIGINAL, TRANSLATION)
    ]
    assert part(texts[1]) == part(texts[0])


def test_each_links_to_the_other() -> None:
    assert "](README.es.md)" in ORIGINAL.read_text(encoding="utf-8")
    assert "](README.md)" in TRANSLATION.read_text(encoding="utf-8")
