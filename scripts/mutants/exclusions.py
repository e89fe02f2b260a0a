"""Exclusions: parts of a module that are not mutated, each with its reason.

A mutant in one of these parts proves nothing about the tests. Either no test could fail, or each
test that imports the module fails.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

REASONS = {
    "annotation": "A union in an annotation has no effect when the code runs.",
    "assertion": "Assertions narrow types; nothing relies on them when the code runs.",
    "decorator": "Decorators have structure, such as properties, and sizes of caches.",
    "description": "Descriptions and examples are text for readers of the documentation.",
    "log": "The fields of log events are for operators, and no caller reads them.",
    "signature": "A star in a signature limits callers, which type checkers verify.",
    "tuning": "Exact durations, and sizes of batches, pieces and caches, are not promised.",
    "typing": "Imports below it are for type checkers only.",
    "type": "A union of types is only used in type checks and aliases.",
}
"""Why a part is excluded, by the kind of the part."""
_LOGGERS = re.compile(r"_?log(ger)?")
_TUNING = re.compile(
    r"(?i)delay|pause|"
    r"\w*(seconds|interval|timeout|grace|batch|piece|chunk|cache|pool|estimate|window|lock|jitter"
    r"|per_sweep|per_statement|per_vacuum|bound_values)\w*"
)
_TEXTS = {"description", "examples", "example", "summary", "title", "openapi_examples"}


@dataclass(frozen=True)
class Exclusion:
    """A part of a module: positions as (line from 1, column in characters)."""

    kind: str
    start: tuple[int, int]
    end: tuple[int, int]

    def covers(self, operator: str, position: tuple[int, int]) -> bool:
        """Return whether the operator must not change the code at the position."""
        if not self.start <= position < self.end:
            return False
        if self.kind in ("annotation", "type"):
            return operator.startswith("Binary_Bit")
        if self.kind == "signature":
            return operator.startswith("Binary_")
        return self.kind != "tuning" or operator == "NumberReplacer"


def exclusions(source: str) -> list[Exclusion]:
    """Return the parts of a module that are not mutated."""
    lines = source.splitlines()
    found: list[Exclusion] = []
    for node in ast.walk(ast.parse(source)):
        for kind, part in _parts(node):
            start = _position(lines, part.lineno, part.col_offset)
            end = _position(lines, part.end_lineno or 0, part.end_col_offset or 0)
            found.append(Exclusion(kind, start, end))
    return found


def _position(lines: list[str], line: int, byte: int) -> tuple[int, int]:
    """Return a position in characters; the one of ``ast`` is in bytes of UTF-8."""
    return line, len(lines[line - 1].encode()[:byte].decode())


def _parts(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    if isinstance(node, ast.Assert):
        yield "assertion", node
    elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
        yield "typing", node
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from (("decorator", decorator) for decorator in node.decorator_list)
        if not isinstance(node, ast.ClassDef) and node.returns is not None:
            yield "annotation", node.returns
    elif isinstance(node, ast.arguments):
        yield from _tuning_of(node)
        yield from _star_of(node)
    elif isinstance(node, ast.arg) and node.annotation is not None:
        yield "annotation", node.annotation
    elif isinstance(node, ast.AnnAssign):
        yield "annotation", node.annotation
        if node.value is not None and _is_tuning(node.target):
            yield "tuning", node.value
    elif isinstance(node, ast.Assign) and any(map(_is_tuning, node.targets)):
        yield "tuning", node.value
    elif isinstance(node, ast.Call):
        yield from _parts_of_call(node)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _is_type(node):
        yield "type", node


def _tuning_of(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args][::-1]
    pairs = chain(
        zip(positional, arguments.defaults[::-1], strict=False),
        zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    )
    for argument, default in pairs:
        if default is not None and _TUNING.fullmatch(argument.arg):
            yield "tuning", default


def _star_of(arguments: ast.arguments) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the part between the positional and the other parameters, which contains the star."""
    positional = [*arguments.posonlyargs, *arguments.args]
    if not positional or not arguments.kwonlyargs or arguments.vararg is not None:
        return
    last = arguments.defaults[-1] if arguments.defaults else positional[-1]
    first = arguments.kwonlyargs[0]
    yield (
        "signature",
        ast.Pass(
            lineno=last.end_lineno or 0,
            col_offset=last.end_col_offset or 0,
            end_lineno=first.lineno,
            end_col_offset=first.col_offset,
        ),
    )


def _parts_of_call(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and _LOGGERS.fullmatch(owner.id):
        yield "log", call
    for keyword in call.keywords:
        if keyword.arg in _TEXTS:
            yield "description", keyword.value
        elif keyword.arg and _TUNING.fullmatch(keyword.arg):
            yield "tuning", keyword.value


def _is_tuning(target: ast.expr) -> bool:
    name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
    return bool(_TUNING.fullmatch(name))


def _is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _is_type(node.left) and _is_type(node.right)
    if isinstance(node, ast.Subscript):
        return _is_type(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr[:1].isupper() and not node.attr.isupper()
    if isinstance(node, ast.Name):
        is_class = node.id[:1].isupper() and not node.id.isupper()
        return is_class or isinstance(getattr(builtins, node.id, None), type)
    return isinstance(node, ast.Constant) and node.value is None
