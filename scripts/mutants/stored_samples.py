"""Stored samples: the mutants of a seed and their results, so that a run can be continued.

Each result is stored when it is known. A mutant is stored with the text of its change, so that it
is found again after other lines of its module have changed.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from scripts.mutants.report import Change, Result, changed_lines
from scripts.mutants.sample import Mutant, mutants, mutated


class StoredSample:
    """The files of one seed in a directory."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._sample = directory / f"seed-{seed}.sample.json"
        self._results = directory / f"seed-{seed}.results.jsonl"
        self.report = directory / f"seed-{seed}.txt"

    def clear(self) -> None:
        """Delete the sample and its results."""
        self._sample.unlink(missing_ok=True)
        self._results.unlink(missing_ok=True)

    def changes(self) -> list[Change]:
        """Return the changes of the sample; none if no run has stored it."""
        if not self._sample.exists():
            return []
        return [Change(**each) for each in json.loads(self._sample.read_text(encoding="utf-8"))]

    def store(self, changes: Iterable[Change]) -> None:
        """Store the changes of a new sample."""
        self._sample.write_text(json.dumps(list(map(asdict, changes)), indent=1), encoding="utf-8")

    def results(self) -> dict[Change, Result]:
        """Return the last result of each change that was tried."""
        found: dict[Change, Result] = {}
        if self._results.exists():
            for line in self._results.read_text(encoding="utf-8").splitlines():
                each = Result(**json.loads(line))
                found[each.change] = each
        return found

    def add(self, result: Result) -> None:
        """Store one result."""
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def change_of(mutant: Mutant, source: str) -> Change:
    """Return the change that a mutant makes."""
    code = mutated(source, mutant)
    assert code is not None, "a sample contains valid mutants only"
    return Change(mutant.path, mutant.line, mutant.operator, *changed_lines(source, code))


def find_mutants(
    changes: Sequence[Change], read: Callable[[str], str | None]
) -> dict[Change, Mutant]:
    """Return the mutants that make the changes in the present sources; ``read`` returns these.

    A change is missing if its lines have changed. If several mutants make the same change, the one
    at the nearest line is returned.
    """
    found: dict[Change, Mutant] = {}
    for change in changes:
        source = read(change.path)
        if source is None:
            continue
        candidates = [
            mutant
            for of_line in mutants(change.path, source).values()
            for mutant in of_line
            if mutant.operator == change.operator
            and " ".join(mutant.before.split()) in change.before
            and mutated(source, mutant) is not None
            and change_of(mutant, source).text == change.text
        ]
        if candidates:
            found[change] = min(candidates, key=lambda mutant: abs(mutant.line - change.line))
    return found
