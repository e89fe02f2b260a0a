"""Documentation generator: writes the tables of the pages that the code defines.

A page marks each table with ``<!-- generated: name argument -->`` and ``<!-- end -->``.
``make docs`` runs this module; with ``--check`` it changes nothing and fails if a page is out of
date.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Table

from api_service import create_app
from config import Settings
from database import tables
from engine.options import NodeOptions
from flows.node_catalog import DescribedType, describe_node_types
from tasks.config.json_schema import describe_config
from tasks.config.rows import aliases
from tasks.registry import DEFAULT

ROOT = Path(__file__).resolve().parent.parent
NONE = "\N{EN DASH}"
MAX_BRANCHES = 4
"""Maximum number of alternatives of a value that a table lists."""
_BLOCK = re.compile(r"(<!-- generated: (\w+) ?(\w*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
CODE_PARTS = ("api", "engine", "flows", "tasks")
"""Packages that create errors with codes."""
_METHODS = ("get", "post", "put", "delete")


def decisions(_argument: str, _present: str) -> Iterator[str]:
    """Yield one list item per decision record."""
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        yield f"- [{title}]({path.name})"


def packages(_argument: str, _present: str) -> Iterator[str]:
    """Yield the packages, two levels deep, each with the first sentence of its ``__init__``."""
    yield from ("| package | purpose |", "| --- | --- |")
    for top in ("api", "flows", "database", "tasks", "engine", "cli", "tracing", "tests"):
        for path in (ROOT / top / "__init__.py", *sorted((ROOT / top).glob("*/__init__.py"))):
            if sentence := _sentence(path):
                name = path.parent.relative_to(ROOT).as_posix()
                yield f"| {'**`' + name + '/`**' if name == top else f'`{name}/`'} | {sentence} |"


def modules(_argument: str, _present: str) -> Iterator[str]:
    """Yield the modules of the root folder, each with the first sentence of its docstring."""
    yield from ("| module | purpose |", "| --- | --- |")
    for path in sorted(ROOT.glob("*.py")):
        yield f"| `{path.name}` | {_sentence(path)} |"


def settings(_argument: str, _present: str) -> Iterator[str]:
    """Yield every setting with its default and the docstring of its field."""
    yield from ("| setting | default | meaning |", "| --- | --- | --- |")
    meanings = _field_docstrings(ROOT / "config.py", "Settings")
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, Path) and default.is_absolute():
            default = default.relative_to(ROOT)
        if isinstance(default, bool | float):
            default = f"{default:g}" if isinstance(default, float) else str(default).lower()
        shown = NONE if default in (None, "") else f"`{default}`"
        yield f"| `{name.upper()}` | {shown} | {meanings.get(name, '')} |"


def types(_argument: str, _present: str) -> Iterator[str]:
    """Yield every node type with its category and its description."""
    yield from ("| type | category | purpose |", "| --- | --- | --- |")
    for described in describe_node_types(DEFAULT):
        link, purpose = f"[`{described.type}`]({described.type}.md)", _quoted(described.description)
        yield f"| {link} | {described.category} | {purpose} |"


def config(node_type: str, _present: str) -> Iterator[str]:
    """Yield the settings of a node type, without those that every node has."""
    described = _described(node_type)
    model = DEFAULT.config(node_type)
    names = {info.alias: name for name, info in model.model_fields.items()}
    common = describe_config(NodeOptions).schema["properties"]
    properties: dict[str, Any] = described.config.schema["properties"]
    own = {key: value for key, value in properties.items() if value != common.get(key)}
    if not own:
        yield "This type has no settings of its own."
        return
    yield from ("| setting | values | default | meaning |", "| --- | --- | --- | --- |")
    for key, schema in own.items():
        keys = [key, *(alias for alias in aliases(model, names[key]) if alias != key)]
        default = described.config.defaults.get(key)
        shown = NONE if default in (None, "", [], {}) else f"`{_as_json(default)}`"
        if key in described.config.schema.get("required", ()):
            shown = "required"
        meaning = _quoted(str(schema.get("description", schema.get("title", ""))))
        named = ", ".join(f"`{name}`" for name in keys)
        yield f"| {named} | {_values(schema)} | {shown} | {meaning} |"


def options(_argument: str, _present: str) -> Iterator[str]:
    """Yield the settings that every node has."""
    yield from ("| setting | values | meaning |", "| --- | --- | --- |")
    for key, schema in describe_config(NodeOptions).schema["properties"].items():
        yield f"| `{key}` | {_values(schema)} | {_quoted(schema['description'])} |"


def ports(_argument: str, _present: str) -> Iterator[str]:
    """Yield the ports of the types that have several inputs or outputs."""
    yield from ("| type | port | other names |", "| --- | --- | --- |")
    for described in describe_node_types(DEFAULT):
        for kind, group in (("input", described.ports.inputs), ("output", described.ports.outputs)):
            for port in group if len(group) > 1 else ():
                aliases = ", ".join(f"`{alias}`" for alias in port.aliases)
                yield f"| `{described.type}` | {kind} `{port.name}` | {aliases} |"
    yield "| every type | output `error` | `onError` |"


def columns(table_name: str, present: str) -> Iterator[str]:
    """Yield the columns of a table; their meanings are written by hand and kept."""
    table: Table = tables.metadata.tables[table_name]
    meanings = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", present, re.MULTILINE))
    names = table.columns.keys()
    if table is tables.logs:
        names = names[names.index("attempt") :]
    yield from ("| column | type | meaning |", "| --- | --- | --- |")
    for name in names:
        column = table.columns[name]
        kind = str(column.type).lower() + ("" if column.nullable else ", required")
        kind += ", key" if column.primary_key else ""
        yield f"| `{name}` | {kind} | {meanings.get(name, 'TODO')} |"


def codes(_argument: str, present: str) -> Iterator[str]:
    """Yield the error codes of the code; their meanings are written by hand and kept."""
    paths = [path for part in CODE_PARTS for path in sorted((ROOT / part).rglob("*.py"))]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    meanings = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", present, re.MULTILINE))
    computed = [code for code in meanings if code.rpartition("_")[0] + "_{" in source]
    kept = [code for code in meanings if f'"{code}"' in source or code in computed]
    new = set(re.findall(r'Problem\(\s*"([a-z_]+)"', source)).difference(kept)
    yield from ("| code | meaning |", "| --- | --- |")
    for code in (*kept, *sorted(new)):
        yield f"| `{code}` | {meanings.get(code, 'TODO')} |"


def operations(_argument: str, _present: str) -> Iterator[str]:
    """Yield every operation of the HTTP interface."""
    yield from ("| call | `operationId` | purpose |", "| --- | --- | --- |")
    paths: dict[str, dict[str, Any]] = create_app(Settings()).openapi()["paths"]
    for path, methods in paths.items():
        for method in _METHODS:
            if method in methods and ("webhook" not in path or method == "post"):
                operation = methods[method]
                purpose = _markdown(operation.get("description", operation["summary"]))
                purpose = re.split(r"(?<=[.;:]) ", purpose)[0].rstrip(";:.") + "."
                yield f"| `{method.upper()} {path}` | `{operation['operationId']}` | {purpose} |"


def _described(node_type: str) -> DescribedType:
    return next(each for each in describe_node_types(DEFAULT) if each.type == node_type)


def _values(schema: Mapping[str, Any]) -> str:
    """Return the accepted values of a setting, from its JSON Schema."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    branches = schema.get("anyOf") or schema.get("oneOf") or ()
    if len(branches) > MAX_BRANCHES:
        return "any JSON value"
    if branches:
        return " or ".join(dict.fromkeys(_values(branch) for branch in branches))
    kind = {"array": "list", "integer": "whole number"}.get(schema["type"], schema["type"])
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum")
    if low is not None and high is not None:
        return f"{'above ' if 'exclusiveMinimum' in schema else ''}{low:g} to {high:,.0f}"
    if low is not None:
        return f"{'above' if 'exclusiveMinimum' in schema else 'from'} {low:g}"
    return f"{kind}, secret" if schema.get("writeOnly") else str(kind)


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).strip('"').replace("|", "\\|")


def _quoted(text: str) -> str:
    """Return a description of the catalog in Markdown: its quoted names become code."""
    return _markdown(re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", text))


def _sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return _markdown(docstring.partition("\n\n")[0])


def _field_docstrings(path: Path, class_name: str) -> dict[str, str]:
    """Return the strings below the fields of a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    body = next(node.body for node in classes if node.name == class_name)
    found: dict[str, str] = {}
    for field, string in pairwise(body):
        match field, string:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                found[name] = _markdown(text)
            case _:
                pass
    return found


def _markdown(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


TABLES: dict[str, Callable[[str, str], Iterator[str]]] = {
    function.__name__: function
    for function in (
        *(decisions, packages, modules, settings, types),
        *(config, options, ports, columns, codes, operations),
    )
}
"""Name of a table -> function that yields its lines from its argument and its present text."""


def pages() -> list[Path]:
    """Return the pages that have generated tables."""
    paths = sorted((ROOT / "docs").rglob("*.md"))
    return [path for path in paths if _BLOCK.search(path.read_text(encoding="utf-8"))]


def generated(page: Path) -> str:
    """Return the text of a page with its generated tables up to date."""

    def renew(match: re.Match[str]) -> str:
        lines = TABLES[match[2]](match[3], match[4])
        return "".join((match[1], *(f"{line}\n" for line in lines), match[5]))

    return _BLOCK.sub(renew, page.read_text(encoding="utf-8"))


def main() -> int:
    """Update all pages; with ``--check``, return 1 if a page is out of date."""
    parser = argparse.ArgumentParser(description="Update the generated tables of the pages.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if one is old")
    check = parser.parse_args().check
    old = [page for page in pages() if generated(page) != page.read_text(encoding="utf-8")]
    for page in old:
        print(f"{'out of date' if check else 'updated'}: {page.relative_to(ROOT)}")
        if not check:
            page.write_text(generated(page), encoding="utf-8", newline="\n")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
