"""Selection: chooses and orders the tests that one mutant must fail."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest


def selection(tests: Iterable[str], seconds: Mapping[str, float], limit: float) -> list[str]:
    """Return tests in the order in which they run, the fast ones first.

    Tests of one file stay together, because they share a service. If the tests take more than
    ``limit`` recorded seconds, each file contributes its fastest tests in turn.
    """
    files: defaultdict[str, list[str]] = defaultdict(list)
    for test in sorted(tests, key=lambda test: (seconds[test], test)):
        files[file_of(test)].append(test)
    order = sorted(files.values(), key=lambda group: (_mean(group, seconds), group))
    chosen: set[str] = set()
    remaining = limit
    for test in chain.from_iterable(zip_longest(*order)):
        if test is not None and seconds[test] <= remaining:
            chosen.add(test)
            remaining -= seconds[test]
    return [test for group in order for test in group if test in chosen]


def file_of(test: str) -> str:
    """Return the file of a test id."""
    return test.partition("::")[0]


def _mean(tests: list[str], seconds: Mapping[str, float]) -> float:
    return sum(seconds[test] for test in tests) / len(tests)
