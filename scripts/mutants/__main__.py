"""Mutation testing: ``python -m scripts.mutants``, or ``make mutants``.

``record`` runs tests and stores which lines they reach; ``run`` tries a random sample of mutants
and writes a table by folder. CONTRIBUTING.md describes both.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

from scripts.mutants.places import DIRECTORY_VARIABLE, FOLDERS, KEPT, RECORDINGS, ROOT, sources
from scripts.mutants.recordings import Recording, Tests
from scripts.mutants.report import (
    Equivalents,
    Result,
    as_json,
    changed_lines,
    result,
    survivors,
    table,
)
from scripts.mutants.sample import Mutant, mutated, sample
from scripts.mutants.selection import selection
from scripts.mutants.trial import Copy, Outcome

_EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
_DEFAULT_TESTS = ("unit", "property", "database", "fundamentals", "api", "live")
_NOT_RECORDED = (
    # They read files of the repository.
    "unit/test_prose.py",
    "unit/test_repository.py",
    "unit/test_docs.py",
    # They send generated requests, which kill no mutant alone, or very many.
    "api/test_openapi_requests.py",
    "api/test_swagger.py",
    "api/test_attacks.py",
    "api/test_load.py",
    "live/test_many_executions.py",
    # They start processes, whose lines are not recorded.
    "api/test_demo.py",
    "fundamentals/test_crash_and_resume.py",
    "live/test_processes.py",
)


def main() -> int:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="store which lines the tests reach")
    record.add_argument("arguments", nargs="*", help="arguments for pytest, after --")
    run = commands.add_parser("run", help="try a sample of mutants")
    run.add_argument("--seed", type=int, required=True)
    run.add_argument("--sample", type=int, default=100, help="number of mutants")
    run.add_argument("--copies", type=int, default=2, help="number of parallel trials")
    run.add_argument(
        "--limit", type=float, default=120, help="recorded seconds of tests per mutant"
    )
    run.add_argument("--only", default="", help="prefix of the modules that are mutated")
    run.add_argument("--survivors", action="store_true", help="try the last survivors only")
    values = parser.parse_args()
    if values.command == "record":
        return _record(values.arguments)
    return _run(values)


def _record(arguments: Sequence[str]) -> int:
    directory = RECORDINGS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, directory / "source" / folder)
    if not arguments:
        ignored = (f"--ignore=tests/{path}" for path in _NOT_RECORDED)
        arguments = [*(f"tests/{name}" for name in _DEFAULT_TESTS), *ignored]
    options = ["-q", "-n", "3", "--dist", "loadfile", "-p", "scripts.mutants.recorder"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=ROOT,
        env=os.environ | {DIRECTORY_VARIABLE: str(directory)},
        check=False,
    ).returncode


def _run(values: argparse.Namespace) -> int:
    code = {path.as_posix(): (ROOT / path).read_text(encoding="utf-8") for path in sources()}
    recordings = [Recording(path) for path in sorted(RECORDINGS.glob("*/"))]
    if not recordings:
        print("error: no recording exists; run `make record` first", file=sys.stderr)
        return 2
    paths = [path for path in code if path.startswith(values.only)]
    chosen = sample(paths, code.__getitem__, seed=values.seed, size=values.sample)
    name = f"seed-{values.seed}"
    file = KEPT / f"{name}.json"
    known = _killed(file) if values.survivors else {}
    trials = Trials(code, Tests(recordings, code), values.limit, known)
    results = trials.run(chosen, values.copies)
    lines = [f"Seed {values.seed}, {len(results)} mutants.", "", *table(results)]
    lines += survivors(results)
    (KEPT / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    file.write_text(json.dumps(as_json(results), indent=1), encoding="utf-8")
    print("\n".join(lines))
    return 0


def _killed(file: Path) -> dict[tuple[str, str, str], Result]:
    """Return the results of the mutants that an earlier run has killed."""
    earlier = [Result(**each) for each in json.loads(file.read_text(encoding="utf-8"))]
    return {
        (each.path, each.before, each.after): each
        for each in earlier
        if each.outcome != Outcome.SURVIVED
    }


class Trials:
    """Runs the trials of a sample in several copies of the checkout."""

    def __init__(
        self,
        code: dict[str, str],
        tests: Tests,
        limit: float,
        known: Mapping[tuple[str, str, str], Result],
    ) -> None:
        """``limit`` is the recorded duration of the tests of one mutant, in seconds.

        ``known`` are results that remain, by path, text before and text after the change.
        """
        self._known = known
        self._code = code
        self._tests = tests
        self._limit = limit
        self._equivalents = Equivalents(_EQUIVALENTS.read_text(encoding="utf-8"))
        self._free: SimpleQueue[Copy] = SimpleQueue()
        self._reading = threading.Lock()

    def run(self, chosen: Sequence[Mutant], copies: int) -> list[Result]:
        """Return the results in the order of the sample; print each when it is known."""
        with ThreadPoolExecutor(copies) as pool:
            opened = [Copy(number) for number in range(copies)]
            for copy in pool.map(Copy.__enter__, opened):
                self._free.put(copy)
            try:
                return list(pool.map(self._try, chosen))
            finally:
                for copy in opened:
                    copy.__exit__(None, None, None)

    def _try(self, mutant: Mutant) -> Result:
        source = self._code[mutant.path]
        code = mutated(source, mutant)
        assert code is not None, "the sample contains valid mutants only"
        known = self._known.get((mutant.path, *changed_lines(source, code)))
        if known is not None:
            return known
        with self._reading:  # SQLite files of the recordings
            reaching = self._tests.reaching(mutant.path, mutant.line)
        tests = selection(reaching, self._tests.seconds, self._limit)
        seconds = sum(self._tests.seconds[test] for test in tests)
        copy = self._free.get()
        try:
            verdict = copy.try_code(mutant.path, code, tests, seconds)
        finally:
            self._free.put(copy)
        reason = self._equivalents.reason(mutant.path, source, code)
        found = result(mutant, source, code, verdict, reason)
        print(
            f"{datetime.now():%H:%M:%S} {found.outcome:9} {found.path}:{found.line}"  # noqa: DTZ005 - for the reader's clock
            f" {found.operator} {found.test or found.selected}",
            flush=True,
        )
        return found


if __name__ == "__main__":
    sys.exit(main())
