"""Mutation testing: the sample of mutants, the selection of tests, and the report."""

from collections import Counter

import pytest

from scripts.mutants.exclusions import REASONS, exclusions
from scripts.mutants.recordings import place_of, same_lines
from scripts.mutants.report import Equivalents, Result, changed_lines, survivors, table
from scripts.mutants.sample import mutants, mutated, sample
from scripts.mutants.selection import selection
from scripts.mutants.trial import Outcome

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
        ("tuning", "WAIT_TIMEOUT_SECONDS = 10\n"),
        ("tuning", "MAX_BATCH_SIZE: int = 100\n"),
        ("tuning", "def f(*, interval_seconds: float = 1.5): ...\n"),
        ("tuning", "def f(timeout=1): ...\n"),
        ("tuning", "X = client(timeout=30)\n"),
        ("log", "def f(a):\n    log.info('e', count=a + 1)\n"),
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
    assert "| engine | 4 | 1 | 1 | 1 | 1 | 67 % | 95 % |" in rows
    assert "| api | 1 | 0 | 1 | 0 | 0 | 100 % | 85 % |" in rows
    assert "| tasks | 0 | 0 | 0 | 0 | 0 | none | 85 % |" in rows
    assert rows[-1] == "| all | 5 | 1 | 2 | 1 | 1 | 75 % |  |"


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
    assert known.reason("m.py", "a < 1\n", "a <= 1\n") == "R."
    assert known.reason("m.py", "\n\nif a:\n    a < 1\n", "\n\nif a:\n    a <= 1\n") == "R."
    assert known.reason("n.py", "a < 1\n", "a <= 1\n") is None
    assert known.reason("m.py", "a < 2\n", "a <= 2\n") is None
