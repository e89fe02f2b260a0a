"""Mutation testing: ``python -m scripts.mutants``, or ``make mutants``.

``record`` runs tests and stores which lines they reach; ``run`` tries a random sample of mutants
and writes a table by folder. CONTRIBUTING.md describes both.
"""

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

from scripts.mutants.places import (
    DIRECTORY_VARIABLE,
    KEPT,
    RECORDINGS,
    copy_checkout,
    sources,
)
from scripts.mutants.recordings import Recording, Tests
from scripts.mutants.report import Change, Equivalents, result, survivors, table
from scripts.mutants.sample import Mutant, mutated, sample
from scripts.mutants.selection import selection
from scripts.mutants.stored_samples import StoredSample, change_of, find_mutants
from scripts.mutants.trial import Copy

_EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
_DEFAULT_TESTS = ("unit", "property", "database", "fundamentals", "api", "live", "prefect")
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
    "prefect/test_tracked_prefect.py",
    "api/test_demo.py",
    "fundamentals/test_crash_and_resume.py",
    "live/test_processes.py",
)


def main() -> int:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants")
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="store which lines the tests reach")
    record.add_argument("--processes", type=int, default=2, help="number of parallel processes")
    record.add_argument("--resume", action="store_true", help="continue the last recording")
    record.add_argument("arguments", nargs="*", help="arguments for pytest, after --")
    run = commands.add_parser("run", help="try a sample of mutants")
    run.add_argument("--seed", type=int, required=True)
    run.add_argument("--sample", type=int, default=100, help="number of mutants")
    run.add_argument("--copies", type=int, default=2, help="number of parallel trials")
    run.add_argument(
        "--limit", type=float, default=120, help="recorded processor seconds of tests per mutant"
    )
    run.add_argument("--only", default="", help="prefix of the modules that are mutated")
    run.add_argument("--survivors", action="store_true", help="try the survivors again too")
    run.add_argument("--restart", action="store_true", help="forget the results of this seed")
    values = parser.parse_args()
    if values.command == "record":
        return _record(values)
    return _run(values)


def _record(values: argparse.Namespace) -> int:
    """Run the tests in a copy of the checkout, so that changes of the checkout have no effect."""
    existing = sorted(RECORDINGS.glob("*/"))
    if values.resume and existing:
        directory = existing[-1]
    else:
        directory = RECORDINGS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        copy_checkout(directory / "source")
    arguments: list[str] = values.arguments
    if not arguments:
        ignored = (f"--ignore=tests/{path}" for path in _NOT_RECORDED)
        arguments = [*(f"tests/{name}" for name in _DEFAULT_TESTS), *ignored]
    options = ["-q", "-n", str(values.processes), "--dist", "loadfile"]
    # A long timeout, because the measurement and other programs make tests slower. A test that
    # waits forever ends the recording, and ``--resume`` continues after the tests before it.
    options += ["--timeout", "1200", "--timeout-method", "thread"]
    options += ["-p", "no:cacheprovider", "-p", "scripts.mutants.recorder"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=directory / "source",
        env=os.environ | {DIRECTORY_VARIABLE: str(directory)},
        check=False,
    ).returncode


def _run(values: argparse.Namespace) -> int:
    recordings = [Recording(path) for path in sorted(RECORDINGS.glob("*/"))]
    if not recordings:
        print("error: no recording exists; run `make record` first", file=sys.stderr)
        return 2
    stored = StoredSample(KEPT, values.seed)
    if values.restart:
        stored.clear()
    with ExitStack() as stack:
        copies = [stack.enter_context(Copy(number)) for number in range(values.copies)]
        root = copies[0].directory  # the checkout may change during the run
        code = {path.as_posix(): (root / path).read_text(encoding="utf-8") for path in sources()}
        changes = stored.changes()
        if not changes:
            paths = [path for path in code if path.startswith(values.only)]
            chosen = sample(paths, code.__getitem__, seed=values.seed, size=values.sample)
            changes = [change_of(mutant, code[mutant.path]) for mutant in chosen]
            stored.store(changes)
        results = stored.results()
        todo = [
            change
            for change in changes
            if change not in results or (values.survivors and results[change].is_undetected)
        ]
        trials = Trials(code, Tests(recordings, code), values.limit, stored)
        trials.run(find_mutants(todo, code.get), copies)
    _report(stored, changes)
    return 0


def _report(stored: StoredSample, changes: Sequence[Change]) -> None:
    """Print and store the table of the results, with the present list of equivalent mutants."""
    known, equivalents = stored.results(), Equivalents(_EQUIVALENTS.read_text(encoding="utf-8"))
    results = [
        replace(known[change], reason=equivalents.reason(change))
        for change in changes
        if change in known
    ]
    missing = len(changes) - len(results)
    lines = [f"{len(results)} mutants, {missing} of the sample without a result.", ""]
    lines += [*table(results), *survivors(results)]
    stored.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


class Trials:
    """Runs the trials of a sample in several copies of the checkout."""

    def __init__(
        self, code: Mapping[str, str], tests: Tests, limit: float, stored: StoredSample
    ) -> None:
        """``limit`` is the recorded processor time of the tests of one mutant, in seconds."""
        self._code = code
        self._tests = tests
        self._limit = limit
        self._stored = stored
        self._free: SimpleQueue[Copy] = SimpleQueue()
        self._lock = threading.Lock()

    def run(self, chosen: Mapping[Change, Mutant], copies: Sequence[Copy]) -> None:
        """Try the mutants; store and print each result when it is known."""
        for copy in copies:
            self._free.put(copy)
        with ThreadPoolExecutor(len(copies)) as pool:
            for _ in pool.map(self._try, chosen.keys(), chosen.values()):
                pass

    def _try(self, change: Change, mutant: Mutant) -> None:
        code = mutated(self._code[mutant.path], mutant)
        assert code is not None, "a sample contains valid mutants only"
        with self._lock:  # SQLite files of the recordings
            reaching = self._tests.reaching(mutant.path, mutant.line)
        tests = selection(reaching, self._tests.seconds, self._limit)
        seconds = sum(self._tests.seconds[test] for test in tests)
        copy = self._free.get()
        try:
            verdict = copy.try_code(mutant.path, code, tests, seconds)
        finally:
            self._free.put(copy)
        found = result(change, verdict, None)
        with self._lock:
            self._stored.add(found)
        print(
            f"{datetime.now():%H:%M:%S} {found.outcome:9} {found.path}:{mutant.line}"  # noqa: DTZ005 - for the reader's clock
            f" {found.operator} {found.test or found.selected}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
