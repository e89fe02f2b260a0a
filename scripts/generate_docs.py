"""Documentation generator: writes the tables of the pages that the code defines.

A page marks each table with ``<!-- generated: name -->`` and ``<!-- end -->``. ``make docs`` runs
this module; with ``--check`` it changes nothing and fails if a page is out of date.
"""

import argparse
import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- generated: ([\w -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def decisions(_page: str) -> Iterator[str]:
    """Yield one list item per decision record."""
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        yield f"- [{title}]({path.name})"


def packages(_page: str) -> Iterator[str]:
    """Yield the packages, two levels deep, each with the first sentence of its ``__init__``."""
    yield from ("| package | purpose |", "| --- | --- |")
    for top in ("api", "flows", "database", "tasks", "engine", "tests"):
        for path in (ROOT / top / "__init__.py", *sorted((ROOT / top).glob("*/__init__.py"))):
            if sentence := _sentence(path):
                name = path.parent.relative_to(ROOT).as_posix()
                yield f"| {'**`' + name + '/`**' if name == top else f'`{name}/`'} | {sentence} |"


def root_modules(_page: str) -> Iterator[str]:
    """Yield the modules of the root folder, each with the first sentence of its docstring."""
    yield from ("| module | purpose |", "| --- | --- |")
    for path in sorted(ROOT.glob("*.py")):
        yield f"| `{path.name}` | {_sentence(path)} |"


def _sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return _markdown(docstring.partition("\n\n")[0])


def _markdown(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


TABLES: dict[str, Callable[[str], Iterator[str]]] = {
    "decisions": decisions,
    "packages": packages,
    "root modules": root_modules,
}
"""Name of a generated block -> function that yields its lines from its present text."""


def pages() -> list[Path]:
    """Return the pages that have generated blocks."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in paths if _BLOCK.search(path.read_text(encoding="utf-8"))]


def generated(page: Path) -> str:
    """Return the text of a page with its generated blocks up to date."""

    def renew(match: re.Match[str]) -> str:
        lines = TABLES[match[2]](match[3])
        return "".join((match[1], *(f"{line}\n" for line in lines), match[4]))

    return _BLOCK.sub(renew, page.read_text(encoding="utf-8"))


def main() -> int:
    """Update all pages; with ``--check``, return 1 if a page is out of date."""
    parser = argparse.ArgumentParser(
        description="Update the generated tables of the documentation."
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if a page is old"
    )
    check = parser.parse_args().check
    old = [page for page in pages() if generated(page) != page.read_text(encoding="utf-8")]
    for page in old:
        print(f"{'out of date' if check else 'updated'}: {page.relative_to(ROOT)}")
        if not check:
            page.write_text(generated(page), encoding="utf-8", newline="\n")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
