"""Recordings: which tests run a line of a module, and the processor time of each of them.

A recording belongs to the sources of its time, which are stored beside it. A line of a module that
has changed since then is found by its text, so an older recording remains useful.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

from coverage import CoverageData

from scripts.mutants.selection import file_of

Lines = Mapping[int, frozenset[str]]
"""Ids of the tests that run a line, by its number."""


@dataclass(frozen=True)
class Recording:
    """One run of tests: the directory that the recorder has written."""

    directory: Path

    def seconds(self) -> dict[str, float]:
        """Return the processor time of each test that passed, by its id."""
        tests: dict[str, float | None] = {}
        for path in self.directory.glob("*.tests.jsonl"):
            tests |= map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return {test: seconds for test, seconds in tests.items() if seconds is not None}

    def source(self, path: str) -> str | None:
        """Return the source of a module at the time of the recording."""
        stored = self.directory / "source" / path
        return stored.read_text(encoding="utf-8") if stored.is_file() else None

    def lines(self, path: str) -> Lines:
        """Return the tests by the lines of a module that they ran."""
        found: dict[int, set[str]] = {}
        for data in _data(self.directory):
            measured = self.directory / "source" / path
            for line, tests in data.contexts_by_lineno(str(measured)).items():
                found.setdefault(line, set()).update(filter(None, tests))
        return {line: frozenset(tests) for line, tests in found.items()}


@cache
def _data(directory: Path) -> tuple[CoverageData, ...]:
    found: list[CoverageData] = []
    for path in sorted(directory.glob("*.coverage")):
        found.append(CoverageData(str(path)))
        found[-1].read()
    return tuple(found)


class Tests:
    """The tests of all recordings."""

    def __init__(self, recordings: Iterable[Recording], sources: Mapping[str, str]) -> None:
        """``sources`` are the modules as they are now, by their paths."""
        self._recordings = list(recordings)
        self._sources = sources
        self._lines: dict[str, Lines] = {}
        self._texts: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        for recording in self._recordings:
            self.seconds |= recording.seconds()

    def lines(self, path: str) -> Lines:
        """Return the tests by the lines of the present source of a module."""
        if path not in self._lines:
            found: dict[int, set[str]] = {}
            for recording in self._recordings:
                before = recording.source(path)
                if before is not None:
                    places = same_lines(before, self._sources[path])
                    for line, tests in recording.lines(path).items():
                        if line in places:
                            found.setdefault(places[line], set()).update(tests)
            self._lines[path] = {
                line: frozenset(tests & self.seconds.keys()) for line, tests in found.items()
            }
        return self._lines[path]

    def reaching(self, path: str, line: int) -> frozenset[str]:
        """Return the tests that run the statement of a line, or that use what it defines.

        If there are none, these are the tests that run a line of the module or, if there are none
        either, of its package. A line that runs at import also has the tests that name it.
        """
        span, names = place_of(self._sources[path], line)
        found = self._users(names) | self._naming(path, names) if names else self._union(path, span)
        if not found:
            found = self._union_of_module(path)
        for package in Path(path).parents:
            if found or package == Path():
                break
            others = (other for other in self._sources if Path(other).is_relative_to(package))
            found = frozenset[str]().union(*map(self._union_of_module, others))
        return found

    def _users(self, names: tuple[str, ...]) -> frozenset[str]:
        """Return the tests that run a line of a function with one of the names."""
        words = _words(names)
        users: set[str] = set()
        for other, source in self._sources.items():
            inside = function_lines(source)
            mentions = (at for at, text in enumerate(source.splitlines(), 1) if words.search(text))
            users |= self._union(other, (at for at in mentions if at in inside))
        return frozenset(users)

    def _naming(self, path: str, names: tuple[str, ...]) -> frozenset[str]:
        """Return the tests of the files that import the module and contain one of the names.

        A field of a model is often validated by a library, so that no function of the project
        contains its name. Its alias is in camel case.
        """
        module = path.removesuffix(".py").replace("/", ".")
        aliases = (re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name) for name in names)
        words = _words((*names, *aliases))
        return frozenset(
            test
            for test in self.seconds
            if (text := self._text(file_of(test))) and module in text and words.search(text)
        )

    def _text(self, file: str) -> str:
        """Return the content of a file of tests; empty if no recording contains it."""
        if file not in self._texts:
            stored = (each.source(file) for each in self._recordings)
            self._texts[file] = next(filter(None, stored), "")
        return self._texts[file]

    def _union_of_module(self, path: str) -> frozenset[str]:
        return self._union(path, range(1, len(self._sources[path].splitlines()) + 1))

    def _union(self, path: str, numbers: Iterable[int]) -> frozenset[str]:
        lines = self.lines(path)
        return frozenset[str]().union(*(lines.get(number, frozenset()) for number in numbers))


def _words(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")


def same_lines(before: str, after: str) -> dict[int, int]:
    """Return the numbers of the lines of ``after`` by those of the same lines of ``before``."""
    if before == after:
        return {line: line for line in range(1, len(before.splitlines()) + 1)}
    matcher = SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    return {
        block.a + offset + 1: block.b + offset + 1
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    }


def place_of(source: str, line: int) -> tuple[range, tuple[str, ...]]:
    """Return the lines of the statement at a line, and the names that it defines.

    The names are empty if the statement is in a function, because tests then run its lines.
    A statement outside functions runs at import; tests reach it by the names.
    """
    statement: ast.stmt | None = None
    names: list[str] = []
    is_inside = False
    for node in _enclosing(ast.parse(source), line):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if line >= node.body[0].lineno:
                is_inside = True
            else:
                names = [node.name]
        elif not is_inside:
            names += [node.name] if isinstance(node, ast.ClassDef) else _targets(node)
        statement = node
    if statement is None:
        return range(line, line + 1), ()
    body: list[ast.stmt] = getattr(statement, "body", [])
    end = body[0].lineno - 1 if body else statement.end_lineno or line
    span = range(min(statement.lineno, line), max(end, line) + 1)
    return span, () if is_inside else tuple(dict.fromkeys(names))


def _enclosing(tree: ast.Module, line: int) -> Iterator[ast.stmt]:
    """Yield the statements around a line, the outermost first."""
    for node in ast.walk(tree):  # breadth first
        if isinstance(node, ast.stmt) and _first(node) <= line <= (node.end_lineno or 0):
            yield node


def _first(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def function_lines(source: str) -> frozenset[int]:
    """Return the numbers of the lines that are in the body of a function."""
    return frozenset(
        number
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for number in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    )
