"""Trial: runs the tests that reach a mutant, in a copy of the checkout that contains it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from scripts.mutants.places import KEPT, copy_checkout
from scripts.mutants.selection import file_of

NO_TESTS = 5
"""Exit code of pytest if it has run no test."""
SLOWEST_FACTOR = 5
"""Factor by which a trial may use more processor time than its tests used in the recording."""
START_SECONDS = 60
"""Processor time that a trial may use in addition, because it imports the changed module."""
_TABLES = ("tests/database/test_migrated_tables.py",)
LAST_RESORTS = {
    "database/bulk_tables.py": _TABLES,
    "database/migrations/": _TABLES,
    "database/tables.py": _TABLES,
    "database/waiting_tables.py": _TABLES,
    "database/executions/": ("tests/crash/test_named_points.py", "tests/crash/test_leases.py"),
    "flows/execution/": ("tests/crash/test_named_points.py", "tests/crash/test_poison.py"),
    "flows/prefect_adapter/": ("tests/prefect",),
    "flows/processes/": ("tests/crash/test_execution_processes.py",),
    "flows/worker/": ("tests/crash/test_leases.py", "tests/crash/test_stop.py"),
    "tasks/code/": ("tests/unit/test_code_node.py", "tests/unit/test_code_limits.py"),
}
"""Tests that run lines of a folder in other processes, where they are not recorded, and those that
compare the declared tables with those of the migrations, which a process runs only once."""


def _last_resorts(path: str) -> tuple[str, ...]:
    return next((files for folder, files in LAST_RESORTS.items() if path.startswith(folder)), ())


class Outcome(StrEnum):
    """The result of a trial."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    """A test, or the trial, exceeded its limit twice with the change and not without it."""
    SURVIVED = "survived"
    NOT_TRIED = "not tried"
    """No test ran. It counts like a survivor."""


UNDETECTED = (Outcome.SURVIVED, Outcome.NOT_TRIED)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a trial, the test that failed, the number of tests, and their files."""

    outcome: Outcome
    test: str | None
    selected: int
    files: Sequence[str] = ()


class Copy:
    """A copy of the checkout with a warm process that runs tests in it."""

    def __init__(self, number: int) -> None:
        self.directory = KEPT / "copies" / str(number)
        self._selection = KEPT / f"selection-{number}.json"
        self._log = KEPT / f"pytest-{number}.log"
        self._version = 0

    def __enter__(self) -> Self:
        copy_checkout(self.directory)
        self._warm = subprocess.Popen(
            [sys.executable, "-m", "scripts.mutants.warm"],
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._receive()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._warm.communicate()

    def try_code(self, path: str, code: str, tests: Sequence[str], seconds: float) -> Verdict:
        """Return the verdict about a changed module.

        Args:
            path: The module.
            code: Its changed source.
            tests: The ids of the tests that reach the change, in their order.
            seconds: The recorded processor time of these tests.
        """
        original = (self.directory / path).read_text(encoding="utf-8")
        self._write(path, code)
        remaining = list(tests)
        try:
            verdict = self._run(remaining, seconds)
            while not self._is_due_to_change(path, original, code, verdict):
                remaining = remaining[remaining.index(verdict.test) + 1 :] if verdict.test else []
                verdict = self._run(remaining, seconds)
            if verdict.outcome in UNDETECTED and (files := _last_resorts(path)):
                last = self._run(None, START_SECONDS, files)
                if self._is_due_to_change(path, original, code, last):
                    verdict = last
        finally:
            self._write(path, original)
        if verdict.outcome == Outcome.NOT_TRIED and tests:  # the last tests failed in both cases
            return replace(verdict, outcome=Outcome.SURVIVED, selected=len(tests))
        return replace(verdict, selected=len(tests))

    def _is_due_to_change(self, path: str, original: str, code: str, verdict: Verdict) -> bool:
        """Return whether a failure is one of the change: it does not happen without it.

        A test may also fail because the machine is busy. A timeout must happen twice. A trial that
        fails before its first test fails at an import of the changed module.

        Raises:
            RuntimeError: If the tests cannot be imported without the change either.
        """
        if verdict.outcome in UNDETECTED:
            return True
        alone = [verdict.test] if verdict.test else []
        if verdict.outcome == Outcome.TIMED_OUT:
            again = self._run(alone, START_SECONDS, verdict.files)
            if again.outcome in UNDETECTED:
                return False
        self._write(path, original)
        unchanged = self._run(alone, START_SECONDS, verdict.files)
        self._write(path, code)
        if verdict.test is None and unchanged.outcome not in UNDETECTED:
            raise RuntimeError(f"{self._log} describes why the tests of {path} do not start")
        return unchanged.outcome in UNDETECTED

    def _write(self, path: str, code: str) -> None:
        """Write a module with a new time, so that Python does not use bytecode of another one."""
        file = self.directory / path
        file.write_text(code, encoding="utf-8")
        self._version += 1
        os.utime(file, (self._version, self._version))

    def _run(self, tests: list[str] | None, seconds: float, files: Sequence[str] = ()) -> Verdict:
        """Run tests; ``None`` means all tests of the files."""
        state = self._selection.with_suffix(".state")
        state.unlink(missing_ok=True)
        self._selection.write_text(json.dumps(tests), encoding="utf-8")
        files = files or sorted({file_of(test) for test in tests or ()})
        if not files:
            return Verdict(Outcome.NOT_TRIED, None, 0)
        code = self._request(
            files=list(files),
            log=str(self._log),
            selection=str(self._selection),
            seconds=START_SECONDS + SLOWEST_FACTOR * seconds,
        )["code"]
        last: dict[str, Any] = (
            json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
        )
        if code is None or (code not in (0, NO_TESTS) and last.get("is_timeout")):
            outcome = Outcome.TIMED_OUT
        elif code == 0:
            outcome = Outcome.SURVIVED
        elif code == NO_TESTS:
            outcome = Outcome.NOT_TRIED
        else:
            outcome = Outcome.KILLED
        test = last.get("test") if outcome not in UNDETECTED else None
        return Verdict(outcome, test, len(tests or ()), files)

    def _request(self, **request: object) -> dict[str, Any]:
        assert self._warm.stdin is not None
        self._warm.stdin.write(json.dumps(request) + "\n")
        self._warm.stdin.flush()
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        assert self._warm.stdout is not None
        line = self._warm.stdout.readline()
        if not line:
            raise RuntimeError("the warm process has ended; its output is above")
        return json.loads(line)
