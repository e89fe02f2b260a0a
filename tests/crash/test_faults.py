"""Faults: a locked database, a full disk, a clock that is set back, and a timeout."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, node
from tests.support.service import wait_until

LOCKED_SECONDS = 10.0
HOUR = 3_600.0


def line_of_visits(visits: CallCounter) -> dict:
    """Return a graph of three nodes in sequence; the second one waits at its gate."""
    nodes = [visits.node(i, "gate" if i == "b" else None) for i in "abc"]
    return document(*nodes, flow=("a -> b", "b -> c"))


def growing_line_of_visits(visits: CallCounter) -> dict:
    """Return the same graph with much data to record after the second node."""
    return document(
        *line_of_visits(visits)["nodes"],
        node("grow", "addField", addFieldValue="x" * 200_000),
        flow=("a -> b", "b -> grow", "grow -> c"),
    )


def test_executions_continue_after_the_database_was_locked_for_ten_seconds(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process()
    ids = [process.start(line_of_visits(visits)) for _ in range(3)]
    for execution_id in ids:
        visits.wait_for(execution_id, "b")
    with closing(sqlite3.connect(process.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        visits.open("gate")  # the results must be recorded while the database is locked
        # Reads succeed in the meantime.
        wait_until(
            lambda: process.poll(ids[0]) and time.monotonic() - begin > LOCKED_SECONDS,
            2 * LOCKED_SECONDS,
        )
        assert {process.row(i)["status"] for i in ids} == {"running"}
        assert [visits.of(i) for i in ids] == [{"a": 1, "b": 1}] * 3
        other.execute("ROLLBACK")
    assert process.wait_ended(*ids) == ["completed"] * 3
    assert [visits.of(i) for i in ids] == [{"a": 1, "b": 1, "c": 1}] * 3
    assert {row["attempt"] for i in ids for row in process.node_rows(i).values()} == {1}
    assert process.events("database_unavailable")
    assert process.violations() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of a few megabytes; this requires root."""
    place = tmp_path / "small disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount the small file system that this test fills")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount a file system (a container?)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_executions_wait_while_the_disk_is_full_and_complete_when_there_is_space(
    small_disk: Path, tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(small_disk, prefect_home=tmp_path / "prefect") as service:
        service.log = tmp_path / "service.log"  # on the other disk
        service.run_process()
        ids = [service.start(growing_line_of_visits(visits)) for _ in range(3)]
        for execution_id in ids:
            visits.wait_for(execution_id, "b")
        ballast = small_disk / "ballast"
        fill(ballast)
        visits.open("gate")
        wait_until(
            lambda: (
                "step_recording" in {e["operation"] for e in service.events("database_unavailable")}
            )
        )
        wait_until(lambda: service.submit().status_code == 507)
        assert "failed" not in {service.poll(i)["status"] for i in ids}
        assert "running" in {service.poll(i)["status"] for i in ids}
        ballast.unlink()
        assert service.wait_ended(*ids) == ["completed"] * 3
        assert [visits.of(i) for i in ids] == [{"a": 1, "b": 1, "c": 1}] * 3
        assert service.run(line_of_visits(visits))["status"] == "completed"
        assert service.violations() == []


def fill(path: Path) -> None:
    """Fill the remaining space."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 1_024):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def test_a_clock_set_back_by_an_hour_delays_nothing(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process(clock_shift_seconds=HOUR)
    execution_id = process.start(line_of_visits(visits))
    visits.wait_for(execution_id, "b")
    process.kill()  # by the new clock, its lease ends in an hour
    process.run_process()
    visits.wait_for(execution_id, "b", 2)  # not in an hour
    visits.open("gate")
    assert process.wait_ended(execution_id) == ["completed"]
    assert visits.of(execution_id) == {"a": 1, "b": 2, "c": 1}
    assert process.violations() == []


def test_an_execution_that_takes_too_long_fails_and_names_the_running_nodes(
    tmp_path: Path, visits: CallCounter
) -> None:
    with ServiceProcess(tmp_path, execution_timeout_seconds=1) as service:
        service.run_process()
        execution_id = service.start(line_of_visits(visits))
        assert service.wait_ended(execution_id) == ["failed"]
        error = service.row(execution_id)["error"]
        assert "took longer than it may" in error
        assert "'b'" in error
        assert {i: n["status"] for i, n in service.node_rows(execution_id).items()} == {
            "a": "completed",
            "b": "cancelled",
        }
        wait_until(lambda: visits.gone == {f"{execution_id}:b": 1})
        assert service.violations() == []
