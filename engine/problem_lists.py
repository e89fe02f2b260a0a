"""Problem lists: the first problems of a document in full, and the number of the others."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.document import Node
from engine.problems import MAX_PROBLEMS, Problem

MAX_FURTHER_CHECKS = 1_000
"""Maximum number of different configs that are checked once ``MAX_PROBLEMS`` were found."""

NodeCheck = Callable[[Node], Iterable[Problem]]
"""Returns the problems of a node's config."""


@dataclass(slots=True)
class ProblemList:
    """The first ``MAX_PROBLEMS`` problems, and how many more there are."""

    first: list[Problem] = field(default_factory=list[Problem])
    count: int = 0
    codes: set[str] = field(default_factory=set[str])

    @property
    def is_full(self) -> bool:
        """Whether further problems are only counted."""
        return self.count >= MAX_PROBLEMS

    @property
    def more(self) -> int:
        """Number of problems that are not in ``first``."""
        return self.count - len(self.first)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems."""
        for problem in problems:
            self.count += 1
            self.codes.add(problem.code)
            if len(self.first) < MAX_PROBLEMS:
                self.first.append(problem)


@dataclass(slots=True)
class ConfigChecks:
    """Checks the configs of nodes. Equal configs of one type are checked once where possible.

    A check takes about 0.1 ms, so a document of 100,000 invalid nodes would take seconds.
    """

    check: NodeCheck
    unchecked: int = 0
    """Number of nodes that were not checked, because enough problems were found."""
    _counts: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    _further: int = 0

    def run(self, nodes: Iterable[Node], problems: ProblemList) -> None:
        """Add the problems of the nodes' configs to ``problems``."""
        for node in nodes:
            key = (node.type, config_key(node.config))
            count = self._counts.get(key)
            if count == 0:
                continue
            if problems.is_full and count is not None:
                problems.count += count
                continue
            if problems.is_full and self._further >= MAX_FURTHER_CHECKS:
                self.unchecked += 1
                continue
            found = list(self.check(node))
            self._counts[key] = len(found)
            self._further += problems.is_full
            problems.extend(found)


def config_key(config: Mapping[str, Any]) -> str:
    """Return a string that is equal for equal configs."""
    return json.dumps(config, sort_keys=True, default=repr)
