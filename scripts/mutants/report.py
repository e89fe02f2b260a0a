"""Report: a table of outcomes by folder, and the mutants that survived."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from scripts.mutants.places import FOLDERS
from scripts.mutants.trial import UNDETECTED, Outcome, Verdict

TARGETS = {"engine": 95, "database": 88, "flows": 88, "tasks": 85, "api": 85}
"""Minimum kill rate of a folder, in percent."""


@dataclass(frozen=True)
class Change:
    """The change of a mutant. ``before`` and ``after`` are the changed lines."""

    path: str
    line: int
    operator: str
    before: str
    after: str

    @property
    def text(self) -> tuple[str, str, str]:
        """The change without its place in the module."""
        return self.path, self.before, self.after


@dataclass(frozen=True)
class Result:
    """A mutant with its verdict. ``before`` and ``after`` are the changed lines."""

    path: str
    line: int
    operator: str
    before: str
    after: str
    outcome: str
    test: str | None
    selected: int
    reason: str | None = None
    """Why the mutant is equivalent to the original, if it is."""

    @property
    def folder(self) -> str:
        """The package of the module."""
        return self.path.partition("/")[0]

    @property
    def change(self) -> Change:
        """The change of the mutant."""
        return Change(self.path, self.line, self.operator, self.before, self.after)

    @property
    def is_undetected(self) -> bool:
        """Whether no test failed."""
        return self.outcome in UNDETECTED


def result(change: Change, verdict: Verdict, reason: str | None) -> Result:
    """Return the result of a trial."""
    return Result(
        **asdict(change),
        outcome=verdict.outcome.value,
        test=verdict.test,
        selected=verdict.selected,
        reason=reason,
    )


def changed_lines(source: str, code: str) -> tuple[str, str]:
    """Return the lines that differ, without indentation: those of the source and of the mutant."""
    before: list[str] = []
    after: list[str] = []
    for line in difflib.ndiff(source.splitlines(), code.splitlines()):
        if line.startswith("- "):
            before.append(" ".join(line[2:].split()))
        elif line.startswith("+ "):
            after.append(" ".join(line[2:].split()))
    return "\n".join(before), "\n".join(after)


class Equivalents:
    """The mutants that are known to change no behavior, from a TOML file with their reasons."""

    def __init__(self, text: str) -> None:
        self._reasons: dict[tuple[str, str, str], str] = {}
        for entry in tomllib.loads(text).get("mutant", []):
            key = (entry["path"], entry["before"], entry["after"])
            self._reasons[key] = entry["reason"]

    def reason(self, change: Change) -> str | None:
        """Return why a mutant is equivalent; ``None`` if it is not listed."""
        return self._reasons.get(change.text)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table by folder. Equivalent mutants do not count in the rate."""
    columns = "folder", "mutants", "equivalent", *(outcome.value for outcome in Outcome)
    columns += ("rate", "target")
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for folder in FOLDERS:
        yield _row(folder, [each for each in results if each.folder == folder], TARGETS[folder])
    yield _row("all", results, None)


def _row(name: str, results: Sequence[Result], target: int | None) -> str:
    counted = [each for each in results if each.reason is None]
    outcomes = [each.outcome for each in counted]
    undetected = sum(each.is_undetected for each in counted)
    rate = f"{100 * (1 - undetected / len(counted)):.0f} %" if counted else "none"
    figures = (
        len(results),
        len(results) - len(counted),
        *map(outcomes.count, Outcome),
        rate,
        f"{target} %" if target else "",
    )
    return f"| {name} | " + " | ".join(map(str, figures)) + " |"


def survivors(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines that describe each mutant that survived, and each equivalent one."""
    for each in results:
        if each.reason is not None:
            yield f"\n{each.path}:{each.line} {each.operator}, equivalent: {each.reason}"
        elif each.is_undetected:
            yield f"\n{each.path}:{each.line} {each.operator}, {each.selected} tests passed"
        else:
            continue
        yield from (f"-{line}" for line in each.before.splitlines())
        yield from (f"+{line}" for line in each.after.splitlines())
