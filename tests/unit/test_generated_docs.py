"""Generated documentation: the tables of the pages match the code that defines them."""

from pathlib import Path

import pytest

from config import ROOT
from database import tables
from scripts.generate_docs import TABLES, generated, pages

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_up_to_date(page: Path):
    assert page.read_text(encoding="utf-8") == generated(page), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_entry_of_a_table_has_a_meaning(page: Path):
    assert "| TODO |" not in page.read_text(encoding="utf-8")


def test_every_kind_of_table_is_used():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in TABLES if f"<!-- generated: {name}" not in text} == set()


def test_every_table_of_the_service_has_its_columns_on_the_page():
    text = (ROOT / "docs" / "reference" / "database.md").read_text(encoding="utf-8")
    own = [name for name in tables.metadata.tables if name.startswith("orchestrator_")]
    assert {name for name in own if f"<!-- generated: columns {name} -->" not in text} == set()


def test_the_layout_page_lists_every_package_with_its_sentence():
    text = (ROOT / "docs" / "explanation" / "layout.md").read_text(encoding="utf-8")
    for top in ("api", "flows", "database", "tasks", "engine", "cli", "tracing"):
        for path in ((ROOT / top), *(ROOT / top).iterdir()):
            if (path / "__init__.py").is_file():
                assert f"`{path.relative_to(ROOT).as_posix()}/`" in text, path
