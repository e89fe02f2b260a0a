"""Progress view of ``./wf`` and the demo: the lines that fit, and texts without control codes."""

import pytest

from cli.progress_view import Line, fitting, printable

TIMES = "\N{MULTIPLICATION SIGN}"


def lines(*statuses: str) -> list[Line]:
    return [Line(str(number), status) for number, status in enumerate(statuses)]


def shown(statuses: list[str], rows: int) -> tuple[list[int], int]:
    chosen, hidden = fitting(lines(*statuses), rows)
    return [int(line.label) for line in chosen], hidden


def test_all_lines_are_shown_if_they_fit() -> None:
    assert shown(["completed", "running"], 2) == ([0, 1], 0)


def test_active_and_failed_nodes_are_shown_before_ended_and_future_ones() -> None:
    statuses = ["error", *["completed"] * 50, "running", "waiting", *["not yet"] * 50]
    assert shown(statuses, 4) == ([0, 50, 51, 52], len(statuses) - 4)


def test_the_next_nodes_are_shown_before_anything_runs() -> None:
    assert shown(["not yet"] * 5, 2) == ([0, 1], 3)


@pytest.mark.parametrize("rows", [0, -3])
def test_a_tiny_terminal_shows_one_line(rows: int) -> None:
    assert shown(["running", "running"], rows) == ([0], 1)


def test_a_node_in_a_loop_has_one_line_with_its_number_of_runs() -> None:
    line = Line("price")
    for item, status in enumerate(["completed", "running", "completed"]):
        line.update({"nodeId": f"price[{item}]", "status": status, "duration": 5, "attempt": 1})
    assert line.word == f"running {TIMES}3"
    line.update({"nodeId": "price[1]", "status": "error", "duration": 5, "attempt": 1})
    assert line.word == f"error {TIMES}3"


def test_values_of_other_programs_are_accepted() -> None:
    line = Line("a")
    line.update({"nodeId": "a", "status": None, "duration": "5 s", "attempt": "first"})
    assert (line.word, line.duration) == ("None", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred", "[31mred"),
        ("é 漢 😀", "é 漢 😀"),
        ("\u202eabc", "abc"),
    ],
)
def test_control_characters_become_spaces(text: str, expected: str) -> None:
    assert printable(text) == expected
