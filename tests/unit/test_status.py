"""Statuses and their transitions (contract, section 2)."""

import pytest

from engine.status import (
    DECIDED,
    TERMINAL,
    TRANSITIONS,
    ExecutionStatus,
    NodeStatus,
    allowed_sources,
)

ALLOWED = {
    "pending": {"running", "cancelled", "failed"},
    "running": {"pending", "waiting", "completed", "failed", "cancelled"},
    "waiting": {"running", "cancelled", "failed"},
    "completed": set(),
    "failed": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize("before", ExecutionStatus)
@pytest.mark.parametrize("after", ExecutionStatus)
def test_which_status_may_follow_which(before: ExecutionStatus, after: ExecutionStatus) -> None:
    allowed = after in ALLOWED[before]

    assert (after in TRANSITIONS[before]) == allowed
    assert (before in allowed_sources(after)) == allowed


def test_terminal_statuses_never_change_again() -> None:
    assert {"completed", "failed", "cancelled"} == TERMINAL
    assert all(not TRANSITIONS[status] for status in TERMINAL)


def test_every_execution_can_come_to_an_end() -> None:
    reached = set(TERMINAL)
    for _ in ExecutionStatus:
        reached |= {before for before in ExecutionStatus if TRANSITIONS[before] & reached}

    assert reached == set(ExecutionStatus)


def test_only_a_running_execution_completes() -> None:
    assert allowed_sources(ExecutionStatus.COMPLETED) == [ExecutionStatus.RUNNING]


def test_status_values_match_the_database() -> None:
    assert [str(status) for status in ExecutionStatus] == [
        "pending",
        "running",
        "waiting",
        "completed",
        "failed",
        "cancelled",
    ]
    assert [str(status) for status in NodeStatus] == [
        "running",
        "completed",
        "error",
        "cancelled",
        "skipped",
        "waiting",
    ]


def test_a_node_that_completed_failed_or_was_skipped_is_decided() -> None:
    assert {"completed", "error", "skipped"} == DECIDED
