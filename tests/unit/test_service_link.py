"""Service link: the messages between an execution process and its service, through pipes."""

import asyncio
import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest
from structlog.testing import capture_logs

from database.connection.commit_signal import Change
from flows.processes import requests as requests_module
from flows.processes.messages import Kind, message_frame, parse_message, read_frame
from flows.processes.requests import ServiceRequests
from flows.processes.service_link import MAX_QUEUED_MESSAGES, ServiceLink
from flows.worker.state import WorkerSettings, WorkerState
from flows.worker.worker import Worker
from metrics import Metrics
from tests.support.probe_nodes import PROBE_TYPES
from tests.support.scripted_database import run_for
from tests.support.virtual_time import in_virtual_time

TIMEOUT_SECONDS = 20.0


class Service:
    """The ends of the service of the pipes of a process, and the link of the process."""

    def __init__(self, lease_seconds: float) -> None:
        (read, to_process), (from_process, write) = os.pipe(), os.pipe()
        self.input: BinaryIO = os.fdopen(to_process, "wb")
        self.output: BinaryIO = os.fdopen(from_process, "rb")
        self._ends: tuple[BinaryIO, BinaryIO] = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self.link = ServiceLink(*self._ends, lease_seconds)
        self.received: list[Any] = []
        self.closed = threading.Event()
        self._threads: set[threading.Thread] = set()

    def start(self) -> None:
        others = set(threading.enumerate())
        self.link.start(self._accept, self.closed.set)
        self._threads = set(threading.enumerate()) - others

    def _accept(self, message: Any) -> None:
        assert not self.closed.is_set()
        self.received.append(message["kind"])
        if message["kind"] == "broken":
            raise ValueError("a defect")

    def read(self) -> Any:
        """Return the next message of the process."""
        body = read_frame(self.output)
        assert body is not None
        return parse_message(body)

    def kinds(self, number: int) -> list[str]:
        return [self.read()["kind"] for _ in range(number)]

    def end(self) -> None:
        """Close the ends of the service, and wait until the threads of the link have ended."""
        self.input.close()
        self.output.close()
        if self._threads:
            assert self.closed.wait(TIMEOUT_SECONDS)
            self.link.send(Kind.OWNER, owner="a")  # the thread that sends finds the closed pipe
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive()
        for end in self._ends:
            with suppress(BrokenPipeError):
                end.close()


@contextmanager
def connected(lease_seconds: float = 20.0) -> Iterator[Service]:
    """Yield a service with a process."""
    service = Service(lease_seconds)
    try:
        yield service
    finally:
        service.end()


@pytest.fixture
def service() -> Iterator[Service]:
    """Yield a service with a process."""
    with connected() as running:
        yield running


def test_messages_of_the_service_are_accepted_until_it_closes_the_pipe(service: Service) -> None:
    service.start()
    with capture_logs() as logs:
        for kind in (Kind.CLAIM, "broken", Kind.STOP):
            service.input.write(message_frame(cast("Kind", kind)))
        service.input.close()
        assert service.closed.wait(TIMEOUT_SECONDS)
    assert service.received == ["claim", "broken", "stop"]
    assert [event["event"] for event in logs] == ["service_message_failed"]


def test_a_signal_that_waits_is_sent_once_and_messages_keep_their_order(service: Service) -> None:
    service.link.notify_committed({Change.QUEUE, Change.SLOTS})
    assert not service.link._signals
    service.link.send(Kind.METRICS, families=[])
    for changes in ({Change.EVENTS}, {Change.QUEUE, Change.SLOTS}, {Change.EVENTS, Change.QUEUE}):
        service.link.notify_committed(changes)
    service.link.send(Kind.OWNER, owner="a")
    service.start()
    assert service.kinds(3) == ["metrics", "owner", "committed"]
    service.link.notify_committed({Change.QUEUE})
    service.link.notify_committed({Change.EVENTS})
    service.link.send(Kind.OWNER, owner="b")
    assert sorted(service.kinds(2)) == ["committed", "owner"]


def test_messages_of_several_threads_arrive_complete(service: Service) -> None:
    service.start()
    names = [str(number) * 1_000 for number in range(8)]

    def send(name: str) -> None:
        for _ in range(20):
            service.link.send(Kind.OWNER, owner=name)

    threads = [threading.Thread(target=send, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    received = [service.read()["owner"] for _ in range(160)]
    assert sorted(received) == sorted(names * 20)


def test_only_messages_for_clients_are_dropped_when_too_many_wait(service: Service) -> None:
    for number in range(MAX_QUEUED_MESSAGES + 5):
        service.link.publish("e", {"n": number})
    service.link.send(Kind.OWNER, owner="a")
    service.start()
    published = [service.read() for _ in range(MAX_QUEUED_MESSAGES)]
    assert [message["message"]["n"] for message in published] == [*range(MAX_QUEUED_MESSAGES)]
    assert {message["executionId"] for message in published} == {"e"}
    assert service.kinds(1) == ["owner"]
    service.link.publish("e", {"n": -1})
    assert service.kinds(1) == ["publish"]


def test_a_process_whose_service_has_ended_sends_without_an_error(service: Service) -> None:
    service.input.close()
    service.output.close()
    service.start()
    for _ in range(3):
        service.link.send(Kind.OWNER, owner="a")
    assert service.closed.wait(TIMEOUT_SECONDS)


@pytest.mark.parametrize(
    ("lease", "blocked", "times"),
    [(1.0, 2.0, [0, 0.5, 1, 1.5, 2, 2.2]), (40.0, 80.0, [0, 1, 2, 2.2])],
)
@in_virtual_time
async def test_a_process_ends_itself_if_its_event_loop_is_blocked_for_two_leases(
    lease: float, blocked: float, times: list[float]
) -> None:
    calls: list[tuple[float, float, bool]] = []

    def end_later(seconds: float, *, exit: bool) -> None:  # noqa: A002 - the name of the library
        calls.append((round(asyncio.get_running_loop().time(), 3), seconds, exit))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faulthandler, "dump_traceback_later", end_later)
        with connected(lease) as service:
            await run_for(2.2, service.link.run_forever(WorkerState()))
    # The last call limits the rest of the shutdown.
    assert calls == [(time, blocked, True) for time in times]


@in_virtual_time
async def test_the_signals_of_the_worker_are_forwarded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: None)
    state = WorkerState("me")
    loop = asyncio.get_running_loop()
    forwarded: list[list[str]] = []
    loop.call_at(1, state.execution_ended.set)
    loop.call_at(2, lambda: forwarded.append([*service.link._signals]))
    loop.call_at(3, state.relatives_changed.set)
    await run_for(4, service.link.run_forever(state))
    assert forwarded == [[Kind.ENDED]]
    assert not state.execution_ended.is_set()
    assert not state.relatives_changed.is_set()
    service.start()
    assert service.read() == {"kind": "owner", "owner": "me"}
    assert service.kinds(2) == ["ended", "relativesChanged"]


# Requests


class Requests:
    """The requests of a service to a process, whose worker records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent: list[Any] = []
        self.submitted: list[Any] = []
        worker = SimpleNamespace(
            wake=lambda: self.calls.append("wake"),
            poll=lambda: self.calls.append("poll"),
            submit=self.submitted.append,
        )
        link = SimpleNamespace(
            send=lambda kind, **fields: self.sent.append({"kind": kind, **fields}),
            send_frame=lambda frame: self.sent.append(parse_message(frame[4:])),
        )
        settings = SimpleNamespace(handler_settings=None, run_limits=None)
        self.metrics = Metrics()
        self.requests = ServiceRequests(
            cast("Worker", worker),
            PROBE_TYPES,
            cast("WorkerSettings", settings),
            self.metrics,
            cast("ServiceLink", link),
        )

    def accept(self, kind: str, **fields: Any) -> bool:
        return self.requests.accept({"kind": kind, **fields})


def test_the_requests_of_the_service_reach_the_worker() -> None:
    requests = Requests()
    assert requests.accept(Kind.CLAIM)
    assert requests.accept(Kind.POLL)
    assert requests.calls == ["wake", "poll"]
    assert not requests.accept(Kind.STOP, graceSeconds=1)
    with capture_logs() as logs:
        assert requests.accept("unknown")
    assert [event["event"] for event in logs] == ["unknown_service_message"]
    assert requests.calls == ["wake", "poll"]
    assert requests.sent == requests.submitted == []


def test_the_metrics_are_returned_on_request() -> None:
    requests = Requests()
    requests.metrics.execution_ended("completed")
    assert requests.accept(Kind.COLLECT)
    [message] = requests.sent
    assert message["kind"] == Kind.METRICS
    assert "workflow_executions_ended" in {name for name, *_ in message["families"]}


@pytest.mark.parametrize(
    ("result", "error"), [({"success": True}, None), (None, "it went wrong"), ({}, None)]
)
async def test_a_single_node_runs_in_the_loop_of_the_worker(
    result: Any, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(preview: Any) -> None:
        assert (preview.node.id, preview.input_data) == ("n", [1])
        preview.result, preview.error = result, error

    monkeypatch.setattr(requests_module, "run_preview", run)
    requests = Requests()
    node = {"id": "n", "type": "give", "label": "Give", "config": {}}
    assert requests.accept(Kind.RUN_NODE, id=7, node=node, inputData=[1])
    assert requests.sent == []
    (work,) = requests.submitted
    await work()
    assert requests.sent == [{"kind": "nodeEnded", "id": 7, "result": result, "error": error}]
