"""Report: a table of outcomes by folder, and the mutants that survived."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.mutants.places import FOLDERS
from scripts.mutants.trial import Outcome, Verdict

TARGETS = {"engine": 95, "database": 88, "flows": 88, "tasks": 85, "api": 85}
"""Minimum kill rate of a folder, in percent."""


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


def result(mutant: Any, source: str, code: str, verdict: Verdict, reason: str | None) -> Result:
    """Return the result of a trial; ``mutant`` has ``path``, ``line`` and ``operator``."""
    before, after = changed_lines(source, code)
    return Result(
        mutant.path,
        mutant.line,
        mutant.operator,
        before,
        after,
        verdict.outcome.value,
        verdict.test,
        verdict.selected,
        reason,
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

    def reason(self, path: str, source: str, code: str) -> str | None:
        """Return why a mutant is equivalent; ``None`` if it is not listed."""
        return self._reasons.get((path, *changed_lines(source, code)))


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table by folder. Equivalent mutants do not count in the rate."""
    yield "| folder | mutants | equivalent | killed | timed out | survived | rate | target |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for folder in FOLDERS:
        yield _row(folder, [each for each in results if each.folder == folder], TARGETS[folder])
    yield _row("all", results, None)


def _row(name: str, results: Sequence[Result], target: int | None) -> str:
    counted = [each for each in results if each.reason is None]
    outcomes = [each.outcome for each in counted]
    survived = outcomes.count(Outcome.SURVIVED)
    rate = f"{100 * (1 - survived / len(counted)):.0f} %" if counted else "none"
    figures = (
        len(results),
        len(results) - len(counted),
        outcomes.count(Outcome.KILLED),
        outcomes.count(Outcome.TIMED_OUT),
        survived,
        rate,
        f"{target} %" if target else "",
    )
    return f"| {name} | " + " | ".join(map(str, figures)) + " |"


def survivors(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines that describe each mutant that survived, and each equivalent one."""
    for each in results:
        if each.reason is not None:
            yield f"\n{each.path}:{each.line} {each.operator}, equivalent: {each.reason}"
        elif each.outcome == Outcome.SURVIVED:
            yield f"\n{each.path}:{each.line} {each.operator}, {each.selected} tests passed"
        else:
            continue
        yield from (f"-{line}" for line in each.before.splitlines())
        yield from (f"+{line}" for line in each.after.splitlines())


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the results as JSON values."""
    return [asdict(each) for each in results]
