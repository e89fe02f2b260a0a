"""Mutation testing: the sample of mutants, the selection of tests, and the report."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from coverage import CoverageData

from scripts.mutants import recordings
from scripts.mutants.exclusions import REASONS, exclusions
from scripts.mutants.recordings import Recording, place_of, same_lines
from scripts.mutants.report import Change, Equivalents, Result, changed_lines, survivors, table
from scripts.mutants.sample import mutants, mutated, sample
from scripts.mutants.selection import selection
from scripts.mutants.stored_samples import StoredSample, change_of, find_mutants
from scripts.mutants.trial import Copy, Outcome, Verdict
from scripts.mutants.warm import processor_seconds

SOURCES = {
    "engine/short.py": "def f(a):\n    return a < 1\n",
    "flows/long.py": "\n".join(f"def f{n}(a):\n    return a + {n}\n" for n in range(40)),
}


def _changes(source: str) -> dict[str, list[str]]:
    """Return the mutants of a module: the changed line by the name of the operator."""
    found: dict[str, list[str]] = {}
    for each in (mutant for line in mutants("m.py", source).values() for mutant in line):
        code = mutated(source, each)
        if code is not None:
            found.setdefault(each.operator, []).append(changed_lines(source, code)[1])
    return found


def _sample(seed: int, size: int = 20) -> list[tuple[str, int, str, int]]:
    chosen = sample(list(SOURCES), SOURCES.__getitem__, seed=seed, size=size)
    return [(each.path, each.line, each.operator, each.occurrence) for each in chosen]


def test_a_seed_gives_the_same_sample_each_time_and_another_seed_gives_another_one():
    assert _sample(1) == _sample(1)
    assert _sample(1) != _sample(2)


def test_no_line_is_in_a_sample_twice_and_a_sample_ends_with_the_last_line():
    chosen = _sample(1, 1_000)
    assert len({(path, line) for path, line, *_ in chosen}) == len(chosen) == 41


def test_a_long_module_has_more_mutants_in_a_sample_than_a_short_one():
    counts = Counter(path for seed in range(30) for path, *_ in _sample(seed, 1))
    assert counts["flows/long.py"] > 20
    assert set(counts) <= set(SOURCES)


def test_a_comparison_is_changed_at_its_limit_only():
    assert _changes("def f(a, b):\n    return a < b\n") == {"Comparison_Lt_LtE": ["return a <= b"]}
    assert _changes("def f(a, b):\n    return a == b\n") == {
        "Comparison_Eq_NotEq": ["return a != b"]
    }


def test_a_number_is_changed_by_one_in_both_directions():
    assert _changes("LIMIT = 10\n") == {"NumberReplacer": ["LIMIT = 11", "LIMIT = 9"]}


@pytest.mark.parametrize("call", ["f(1, a)", "await f(1, a)", "a.f()"])
def test_a_statement_that_only_calls_is_removed(call: str):
    source = f"async def g(a):\n    {call}\n    return await f(a)\n"
    assert _changes(source)["DeleteCall"] == ["pass"]


def test_each_condition_of_a_query_is_removed():
    source = "QUERY = select(a).where(a.x, a.y == b.y)\n"
    assert _changes(source)["DeleteCondition"] == [
        "QUERY = select(a).where( a.y == b.y)",
        "QUERY = select(a).where(a.x)",
    ]
    assert _changes("Q = s.where(a.x)\n")["DeleteCondition"] == ["Q = s.where()"]
    assert _changes("Q = s.where(*xs)\n").get("DeleteCondition") is None
    assert _changes("Q = and_(a)\n").get("DeleteCondition") is None


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("annotation", "def f(a: int | None) -> str | None: ...\n"),
        ("annotation", "value: int | None\n"),
        ("assertion", "def f(a):\n    assert a is not None\n"),
        ("decorator", "@cache(maxsize=10)\ndef f(): ...\n"),
        ("description", "X = Field(description='a' + 'b')\n"),
        ("signature", "def f(a, *, b): ...\n"),
        ("signature", "def f(a=None, /, *, b): ...\n"),
        ("tuning", "WAIT_TIMEOUT_SECONDS = 10\n"),
        ("tuning", "MAX_BATCH_SIZE: int = 100\n"),
        ("tuning", "def f(*, interval_seconds: float = 1.5): ...\n"),
        ("tuning", "def f(timeout=1): ...\n"),
        ("tuning", "X = client(timeout=30)\n"),
        ("log", "def f(a):\n    log.info('e', count=a + 1)\n"),
        ("typing", "if TYPE_CHECKING:\n    import a\n"),
        ("type", "Json = dict | list[int] | None\n"),
    ],
)
def test_a_part_that_proves_nothing_is_not_changed(kind: str, source: str):
    assert _changes(source) == {}
    assert kind in {part.kind for part in exclusions(source)}


def test_every_kind_of_exclusion_has_a_reason_that_is_a_sentence():
    assert all(reason.endswith(".") for reason in REASONS.values())


@pytest.mark.parametrize(
    "source",
    [
        "MAX_SECONDS = A + B\n",  # only its numbers are excluded
        "FLAGS = re.A | re.B\n",
        "def f(a: Annotated[int, Field(ge=1)]): ...\n",
        "def f(limit=1): ...\n",
        "def f(a=2 * b, *, c): ...\n",
        "def f(a, *, c=2 * b): ...\n",
    ],
)
def test_parts_with_a_meaning_are_changed(source: str):
    assert _changes(source) != {}


def test_a_position_after_text_that_is_not_ascii_is_found():
    source = "def f(a):\n    return 'é', log.info('ü', n=a + 1), a < 2\n"
    assert set(_changes(source)) == {"Comparison_Lt_LtE", "NumberReplacer"}
    assert len(_changes(source)["NumberReplacer"]) == 2


def test_code_that_is_not_valid_python_is_not_a_mutant():
    assert _changes("def f(a, /): ...\n") == {}
    assert _changes("X = {**a}\n") == {}


def test_an_exception_of_a_module_is_not_replaced():
    source = "try:\n    f()\nexcept (sqlite3.Error, ValueError):\n    g()\n"
    found = {each.occurrence: mutated(source, each) for each in mutants("m.py", source)[3]}
    assert found[0] is None
    assert "(sqlite3.Error, CosmicRayTestingException)" in str(found[1])


def test_a_line_in_a_function_is_a_statement_and_one_outside_has_names():
    source = "LIMIT = 1\n\nclass A:\n    size: int = 3\n\n"
    source += "    def f(self, n=2):\n        return (\n            n\n        )\n"
    assert place_of(source, 1) == (range(1, 2), ("LIMIT",))
    assert place_of(source, 4) == (range(4, 5), ("A", "size"))
    assert place_of(source, 6) == (range(6, 7), ("f",))
    assert place_of(source, 8) == (range(7, 10), ())


def test_a_line_is_found_after_other_lines_have_changed():
    assert same_lines("a\nb\nc\n", "x\na\nc\n") == {1: 2, 3: 3}
    assert same_lines("a\n", "a\n") == {1: 1}


def test_fast_tests_run_first_and_the_tests_of_a_file_stay_together():
    seconds = {"a.py::slow": 9.0, "a.py::fast": 1.0, "b.py::one": 2.0, "b.py::two": 3.0}
    assert selection(seconds, seconds, 100) == [
        "b.py::one",
        "b.py::two",
        "a.py::fast",
        "a.py::slow",
    ]


def test_each_file_contributes_its_fastest_test_if_time_is_short():
    seconds = {"a.py::1": 1.0, "a.py::2": 1.0, "b.py::1": 5.0, "b.py::2": 6.0}
    assert selection(seconds, seconds, 6) == ["a.py::1", "b.py::1"]


def _result(folder: str, outcome: Outcome, reason: str | None = None) -> Result:
    return Result(
        f"{folder}/m.py", 7, "AddNot", "if a:", "if not a:", outcome.value, None, 3, reason
    )


RESULTS = [
    _result("engine", Outcome.KILLED),
    _result("engine", Outcome.TIMED_OUT),
    _result("engine", Outcome.SURVIVED),
    _result("engine", Outcome.SURVIVED, "It is equivalent."),
    _result("api", Outcome.KILLED),
]


def test_the_rate_of_a_folder_counts_timeouts_as_killed_and_no_equivalent_mutants():
    rows = list(table(RESULTS))
    assert "| engine | 4 | 1 | 1 | 1 | 1 | 0 | 67 % | 95 % |" in rows
    assert "| api | 1 | 0 | 1 | 0 | 0 | 0 | 100 % | 85 % |" in rows
    assert "| tasks | 0 | 0 | 0 | 0 | 0 | 0 | none | 85 % |" in rows
    assert rows[-1] == "| all | 5 | 1 | 2 | 1 | 1 | 0 | 75 % |  |"


def test_a_mutant_for_which_no_test_ran_counts_like_a_survivor():
    results = [_result("engine", Outcome.KILLED), _result("engine", Outcome.NOT_TRIED)]
    assert "| engine | 2 | 0 | 1 | 0 | 0 | 1 | 50 % | 95 % |" in list(table(results))
    assert next(survivors(results)) == "\nengine/m.py:7 AddNot, 3 tests passed"


def test_survivors_are_listed_with_their_change_and_equivalent_ones_with_their_reason():
    assert list(survivors(RESULTS)) == [
        "\nengine/m.py:7 AddNot, 3 tests passed",
        "-if a:",
        "+if not a:",
        "\nengine/m.py:7 AddNot, equivalent: It is equivalent.",
        "-if a:",
        "+if not a:",
    ]


def test_an_equivalent_mutant_is_recognized_by_its_text_wherever_its_line_is():
    entry = '[[mutant]]\npath = "m.py"\nbefore = "a < 1"\nafter = "a <= 1"\nreason = "R."\n'
    known = Equivalents(entry)
    change = Change("m.py", 1, "Lt_LtE", "a < 1", "a <= 1")
    assert known.reason(change) == "R."
    assert known.reason(replace(change, line=7)) == "R."
    assert known.reason(replace(change, path="n.py")) is None
    assert known.reason(replace(change, before="a < 2")) is None


# Samples that are continued


def test_a_run_is_continued_with_the_results_that_an_earlier_one_has_stored(tmp_path: Path):
    stored = StoredSample(tmp_path, 7)
    changes = [each.change for each in RESULTS[:1]]
    assert stored.changes() == []
    stored.store(changes)
    stored.add(_result("engine", Outcome.SURVIVED))
    stored.add(_result("engine", Outcome.KILLED))
    again = StoredSample(tmp_path, 7)
    assert again.changes() == changes
    assert again.results() == {changes[0]: _result("engine", Outcome.KILLED)}
    assert StoredSample(tmp_path, 8).results() == {}
    again.clear()
    assert (again.changes(), again.results()) == ([], {})


def test_a_mutant_of_a_stored_sample_is_found_after_other_lines_have_changed():
    source = "def f(a):\n    if a < 1:\n        return 2\n\ndef g(a):\n    return a < 1\n"
    every = [each for of_line in mutants("m.py", source).values() for each in of_line]
    changes = [change_of(each, source) for each in every if mutated(source, each)]
    assert {
        change: each.line for change, each in find_mutants(changes, {"m.py": source}.get).items()
    }
    for change, mutant in find_mutants(changes, {"m.py": f"# new\n{source}"}.get).items():
        assert mutant.line == change.line + 1
    assert find_mutants(changes, {"n.py": source}.get) == {}
    kept = find_mutants(changes, {"m.py": source.replace("a < 1:", "a < 3:")}.get)
    assert kept.keys() == {change for change in changes if "a < 1:" not in change.before}


# Recordings


def _record(
    directory: Path, sources: Mapping[str, str], lines: Mapping[str, Mapping[str, list[int]]]
) -> Recording:
    """Write a recording: the lines of each module that each test runs; a test takes a second."""
    for path, source in sources.items():
        file = directory / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    data = CoverageData(str(directory / "main.coverage"))
    for test, reached in lines.items():
        data.set_context(test)
        data.add_lines({str(directory / "source" / path): of for path, of in reached.items()})
    data.write()
    tests = "".join(json.dumps([test, 1.0]) + "\n" for test in lines)
    (directory / "main.tests.jsonl").write_text(tests, encoding="utf-8")
    return Recording(directory)


MODULES = {
    "engine/a.py": "class Model: max_size = 3\n\ndef f(a):\n    return a\n"
    "\ndef g(a):\n    return -a\n",
    "engine/b.py": "def h(a):\n    return a\n",
    "flows/c.py": "def i(a):\n    return a\n",
}
TEST_FILES = {
    "tests/test_a.py": "from engine.a import f\n",
    "tests/test_model.py": "from engine.a import g\n\nsent = {'maxSize': 4}\n",
}


def _tests(directory: Path) -> recordings.Tests:
    reached = {
        "tests/test_a.py::one": {"engine/a.py": [4]},
        "tests/test_b.py::one": {"flows/c.py": [2]},
        "tests/test_model.py::one": {},
    }
    return recordings.Tests([_record(directory, {**MODULES, **TEST_FILES}, reached)], MODULES)


def test_the_tests_of_a_line_are_those_that_run_it(tmp_path: Path):
    assert _tests(tmp_path).reaching("flows/c.py", 2) == {"tests/test_b.py::one"}


@pytest.mark.parametrize(("path", "line"), [("engine/a.py", 7), ("engine/b.py", 2)])
def test_a_line_that_no_test_runs_has_the_tests_of_its_module_or_package(
    tmp_path: Path, path: str, line: int
):
    assert _tests(tmp_path).reaching(path, line) == {"tests/test_a.py::one"}


def test_a_field_of_a_model_has_the_tests_that_name_it_or_its_alias(tmp_path: Path):
    assert _tests(tmp_path).reaching("engine/a.py", 1) == {"tests/test_model.py::one"}


# Trials


class _Copy(Copy):
    """A copy whose tests have given results: with the change, and without it."""

    def __init__(self, directory: Path, changed: list[Verdict], unchanged: list[Verdict]) -> None:
        super().__init__(0)
        self.directory = directory
        self._verdicts = {"new": changed, "old": unchanged}
        self.runs: list[tuple[str, list[str] | None]] = []

    def _run(self, tests, seconds, files=()):
        text = (self.directory / "m.py").read_text(encoding="utf-8")
        self.runs.append((text, tests))
        return self._verdicts[text].pop(0)


PASSED = Verdict(Outcome.SURVIVED, None, 1)


def _failed(test: str, outcome: Outcome = Outcome.KILLED) -> Verdict:
    return Verdict(outcome, test, 1)


def _try(directory: Path, changed: list[Verdict], unchanged: list[Verdict]):
    (directory / "m.py").write_text("old", encoding="utf-8")
    copy = _Copy(directory, changed, unchanged)
    verdict = copy.try_code("m.py", "new", ["a", "b", "c"], 1.0)
    assert (directory / "m.py").read_text(encoding="utf-8") == "old"
    return verdict, copy.runs


def test_a_mutant_is_killed_by_a_test_that_passes_without_the_change(tmp_path: Path):
    verdict, runs = _try(tmp_path, [_failed("b")], [PASSED])
    assert (verdict.outcome, verdict.test, verdict.selected) == (Outcome.KILLED, "b", 3)
    assert runs == [("new", ["a", "b", "c"]), ("old", ["b"])]


def test_a_test_that_fails_without_the_change_too_is_left_out(tmp_path: Path):
    verdict, runs = _try(tmp_path, [_failed("b"), PASSED], [_failed("b")])
    assert (verdict.outcome, verdict.selected) == (Outcome.SURVIVED, 3)
    assert runs[-1] == ("new", ["c"])


def test_a_timeout_kills_a_mutant_only_if_it_happens_twice(tmp_path: Path):
    slow = _failed("c", Outcome.TIMED_OUT)
    verdict, runs = _try(tmp_path, [slow, slow], [PASSED])
    assert verdict.outcome == Outcome.TIMED_OUT
    assert runs == [("new", ["a", "b", "c"]), ("new", ["c"]), ("old", ["c"])]
    none = Verdict(Outcome.NOT_TRIED, None, 0)
    verdict, runs = _try(tmp_path, [slow, PASSED, none], [])
    assert verdict.outcome == Outcome.SURVIVED
    assert runs == [("new", ["a", "b", "c"]), ("new", ["c"]), ("new", [])]


def test_tests_that_do_not_start_without_the_change_are_an_error(tmp_path: Path):
    unknown = Verdict(Outcome.KILLED, None, 0)
    with pytest.raises(RuntimeError, match="do not start"):
        _try(tmp_path, [unknown], [unknown])


def test_the_processor_time_of_a_session_includes_its_processes():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    command = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {code!r}])'
    arguments = [sys.executable, "-c", command]
    with subprocess.Popen(
        arguments, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        assert processor_seconds(run.pid) >= 0.2  # the system counts in steps of 0.01 s
        run.communicate(b"\n")
