"""Streams of real processes: killed, two on one database, and stopped with open streams."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.counting_server import CallCounter
from tests.support.crash_harness import ServiceProcess
from tests.support.documents import document, line, node
from tests.support.postgres import Storage, on_both
from tests.support.stream_clients import (
    StreamEvent,
    messages_until_end,
    receive,
    seqs,
    shape,
    sse,
    streamed_events,
    subscribe,
    unread_request,
)
from tests.support.stream_clients import websocket as open_websocket

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor SIGTERM"),
]


@pytest.fixture
def visits() -> Iterator[CallCounter]:
    with CallCounter() as server:
        yield server


@pytest.fixture
def process(tmp_path: Path, storage: Storage) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path, **storage) as service:
        yield service


def test_killed_in_the_middle_the_sequence_has_no_hole(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process.run_process()
    gates = ("one", "two")
    chain = [visits.node(f"v{i}", gate=gates[i // 3] if i % 3 == 2 else None) for i in range(6)]
    flow = ("start -> v0", *(f"v{i} -> v{i + 1}" for i in range(5)))
    execution_id = process.start(document(node("start", "trigger"), *chain, flow=flow))
    path = f"/api/executions/{execution_id}/stream"
    seen: list[StreamEvent] = []
    for i, gate in enumerate(gates):
        visits.wait_for(execution_id, f"v{i * 3 + 2}")
        with (
            suppress(httpx.HTTPError),
            sse(process, path, seen[-1].id if seen else 0) as events,
        ):
            for event in events:
                seen.append(event)
                nodes = [(log["nodeId"], log["status"]) for log in event.data["logs"]]
                if (f"v{i * 3 + 2}", "running") in nodes:
                    process.kill()
        process.run_process()
        visits.open(gate)
    seen += streamed_events(process, execution_id, seen[-1].id)
    assert seqs(seen) == list(range(1, process.poll(execution_id)["seq"] + 1))
    assert seen[-1].type == "execution_complete"
    assert [event.type for event in seen[:-1]] == ["execution_progress"] * (len(seen) - 1)
    statuses = [log["status"] for e in seen for log in e.data["logs"] if log["nodeId"] == "v2"]
    assert statuses == ["running", "cancelled", "running", "completed"]
    assert [shape(e.data) for e in seen] == [
        shape(e.data) for e in streamed_events(process, execution_id, 0)
    ]


def test_streams_survive_kills_at_random_times(
    process: ServiceProcess, visits: CallCounter
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown if the test fails
    chance = random.Random(seed)
    process.run_process()
    chain = document(
        *(visits.node(f"v{i}") for i in range(40)),
        flow=tuple(f"v{i} -> v{i + 1}" for i in range(39)),
    )
    execution_id = process.start(chain)
    seen: list[StreamEvent] = []
    for _ in range(2):
        until = time.monotonic() + chance.uniform(0.02, 0.3)
        path = f"/api/executions/{execution_id}/stream"
        with suppress(httpx.HTTPError), sse(process, path, seen[-1].id if seen else 0) as events:
            for event in events:
                seen.append(event)
                if time.monotonic() > until:
                    process.kill()
        if process.process.poll() is not None:
            process.run_process()
    if seen[-1].type == "execution_progress":
        seen += streamed_events(process, execution_id, seen[-1].id)
    assert seqs(seen) == list(range(1, process.poll(execution_id)["seq"] + 1))
    assert seen[-1].type == "execution_complete"


@on_both()
def test_another_process_runs_it(tmp_path: Path, storage: Storage, visits: CallCounter) -> None:
    with (
        ServiceProcess(tmp_path, max_concurrent_executions=2, **storage) as runs,
        ServiceProcess(tmp_path, **storage) as other,
    ):
        runs.run_process()
        nodes = (node("start", "trigger"), visits.node("v", gate="g"), node("end"))
        execution_id = runs.start(document(*nodes, flow=("start -> v", "v -> end")))
        visits.wait_for(execution_id, "v")
        other.run_process()
        with (
            sse(other, f"/api/executions/{execution_id}/stream") as events,
            sse(other, "/api/events") as every,
            open_websocket(other) as client,
        ):
            subscribe(client, executionId=execution_id)
            firsts = [next(events).data, next(every).data, receive(client)]
            assert [first["currentNodeId"] for first in firsts] == ["v"] * 3
            visits.open("g")
            rest = [event.data for event in events]
            assert messages_until_end(client) == rest
            assert [next(every).data for _ in rest] == rest
        last = runs.poll(execution_id)["seq"]
        assert [event["seq"] for event in rest] == list(range(firsts[0]["seq"] + 1, last + 1))
        assert rest[-1]["type"] == "execution_complete"


def test_streams_end_cleanly_when_the_service_stops(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process._settings["shutdown_grace_seconds"] = 0
    process.run_process()
    execution_id = process.start(document(visits.node("v", gate="g")))
    visits.wait_for(execution_id, "v")
    big = process.run(line(2), inputs={"text": "x" * 5_000})["executionId"]
    path = f"/api/executions/{execution_id}/stream"
    with (
        sse(process, path) as single,
        sse(process, "/api/events") as every,
        open_websocket(process) as follows,
        open_websocket(process) as idle,
    ):
        subscribe(follows, organizationId="o")
        subscribe(follows, executionId=execution_id)
        firsts = [next(single), next(every), receive(follows)]
        assert len(firsts) == 3
        assert big
        process.ask_to_stop()
        list(single)  # raises if the body is incomplete
        list(every)
        for client in (follows, idle):
            with pytest.raises(ConnectionClosed) as closed:
                list(iter(lambda c=client: c.recv(timeout=30), None))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert process.wait_dead() == 0
    assert_no_errors(process)


def test_a_client_that_does_not_read_does_not_hold_up_a_stop(
    process: ServiceProcess, visits: CallCounter
) -> None:
    process._settings["shutdown_grace_seconds"] = 0
    process.run_process()
    wide = document(
        node("start", "trigger"),
        *(node(f"n{i}", "addField") for i in range(300)),
        flow=tuple(f"start -> n{i}" for i in range(300)),
    )
    done = process.run(wide, inputs={"text": "x" * 8_000})
    path = f"/api/executions/{done['executionId']}/stream?afterSeq=0"
    with unread_request(process, path, buffer=4_096) as client:
        client.recv(1)
        process.ask_to_stop()
        assert process.wait_dead() == 0
    assert_no_errors(process)


def assert_no_errors(process: ServiceProcess) -> None:
    said = process.log.read_text(encoding="utf-8")
    assert '"level": "error"' not in said
    assert "Traceback" not in said
    assert "service_stopped" in said
