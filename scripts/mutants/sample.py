"""Sample: chooses mutants of the packages at random, reproducibly for a seed.

A module is chosen by its number of lines, then one of its lines that can be mutated, then one of
the mutants of that line. So a line with many operators is not chosen more often than others.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from typing import Any

from scripts.mutants.exclusions import exclusions
from scripts.mutants.operators import OPERATORS

_trees: Any = import_module("cosmic_ray.ast")  # the package has no types
_mutating: Any = import_module("cosmic_ray.mutating")


@dataclass(frozen=True)
class Mutant:
    """One change of one module. ``line`` counts from 1; ``before`` is the text of that line."""

    path: str
    operator: str
    occurrence: int
    line: int
    before: str

    @property
    def folder(self) -> str:
        """The package of the module."""
        return self.path.partition("/")[0]


def mutants(path: str, source: str) -> dict[int, list[Mutant]]:
    """Return the mutants of a module by line."""
    excluded, lines = exclusions(source), source.splitlines()
    nodes: list[Any] = list(_trees.ast_nodes(_trees.get_ast(source)))
    found: defaultdict[int, list[Mutant]] = defaultdict(list)
    for name, operator in OPERATORS.items():
        starts = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(starts):
            if not any(part.covers(name, start) for part in excluded):
                text = lines[start[0] - 1].strip()
                found[start[0]].append(Mutant(path, name, occurrence, start[0], text))
    return dict(found)


def mutated(source: str, mutant: Mutant) -> str | None:
    """Return the changed source; ``None`` if the change is not valid Python or changes nothing."""
    operator = OPERATORS[mutant.operator]
    visitor = _mutating.MutationVisitor
    try:
        code: str | None = visitor.mutate_code(source, operator, mutant.occurrence)
    except AttributeError:  # cosmic-ray cannot replace ``module.Error`` in a tuple
        return None
    if code is None or code == source:
        return None
    try:
        compile(code, mutant.path, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    return code


def sample(
    paths: Sequence[str], read: Callable[[str], str], *, seed: int, size: int
) -> list[Mutant]:
    """Return ``size`` mutants on different lines, or fewer if the modules do not have them.

    Args:
        paths: The modules.
        read: Returns the source of a module.
        seed: The same seed and the same sources give the same sample.
        size: The number of mutants.
    """
    generator = random.Random(seed)  # noqa: S311 - not for cryptography
    weights = list(accumulate(len(read(path).splitlines()) for path in paths))
    remaining: dict[str, dict[int, list[Mutant]]] = {}
    chosen: list[Mutant] = []
    exhausted: set[str] = set()
    while len(chosen) < size and len(exhausted) < len(paths):
        path = generator.choices(paths, cum_weights=weights)[0]
        source = read(path)
        if path not in remaining:
            remaining[path] = mutants(path, source)
        lines = remaining[path]
        if not lines:
            exhausted.add(path)
            continue
        line = generator.choice(sorted(lines))
        candidates = [mutant for mutant in lines.pop(line) if mutated(source, mutant)]
        if candidates:
            chosen.append(generator.choice(candidates))
    return chosen
