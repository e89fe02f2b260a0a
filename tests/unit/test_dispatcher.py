"""Dispatcher in virtual time: its requests to a Prefect server, and when they are repeated."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from database.executions.dispatches import Dispatch
from engine.errors import StorageUnavailableError
from flows.execution.signals import ExecutionSignals
from flows.worker import dispatcher as module
from flows.worker.dispatcher import CODE, Dispatcher
from flows.worker.state import WorkerSettings, WorkerState
from tests.support.recorded_client import RecordedClient
from tests.support.scripted_database import ScriptedDatabase
from tests.support.virtual_time import in_virtual_time

LEASE_SECONDS = 10.0
DEPLOYMENT = UUID(int=1)
SUBMIT = "create_flow_run_from_deployment"
DOWN = httpx.ConnectError("no server")

Patch = pytest.MonkeyPatch


def dispatches(*ids: str) -> list[Dispatch]:
    return [Dispatch(execution_id, 1, "Name") for execution_id in ids]


def run_id(number: int) -> str:
    return str(UUID(int=number))


def submitted(*_: Any, parameters: dict[str, str], **__: Any) -> Any:
    return SimpleNamespace(id=f"run of {parameters['execution_id']}")


def client_of(monkeypatch: Patch, **answers: Any) -> RecordedClient:
    """Return the client that a dispatcher uses, which accepts everything without other answers."""
    accepted = {"create_deployment": DEPLOYMENT, SUBMIT: submitted, "read_flow_runs": []}
    client = RecordedClient(**accepted | answers)
    monkeypatch.setattr(module, "require_prefect_context", lambda: client)
    return client


def dispatcher_of(database: ScriptedDatabase, lease_seconds: float = LEASE_SECONDS) -> Dispatcher:
    settings = SimpleNamespace(lease_seconds=lease_seconds, prefect_work_pool="pool")
    database.answers.setdefault("dispatches.unconfirmed", [[]])
    database.answers.setdefault("dispatches.reserve", [[]])
    return Dispatcher(database.typed, cast("WorkerSettings", settings))


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def recording(times: list[float], answer: Any) -> Callable[..., Any]:
    """Return a function that records when it is called."""

    def call(*_: Any, **__: Any) -> Any:
        times.append(now())
        return answer

    return call


async def call_until(dispatcher: Dispatcher, end: float, interval: float = 0.25) -> None:
    """Call the dispatcher at an interval from now to a virtual time."""
    state = WorkerState()
    while now() <= end:
        await dispatcher.dispatch_due(state)
        await asyncio.sleep(interval)


@in_virtual_time
async def test_all_claimable_executions_are_submitted_in_batches(monkeypatch: Patch) -> None:
    client = client_of(monkeypatch)
    batches = [dispatches("a", "b"), dispatches("c"), []]
    database = ScriptedDatabase(dispatches__reserve=batches)
    dispatcher, state = dispatcher_of(database), WorkerState(active={"x": ExecutionSignals()})
    await dispatcher.dispatch_due(state)
    await dispatcher.dispatch_due(state)
    assert [
        (args[0], fields["name"]) for name, args, fields in client.requests if name == SUBMIT
    ] == [
        (DEPLOYMENT, "Name a"),
        (DEPLOYMENT, "Name b"),
        (DEPLOYMENT, "Name c"),
    ]
    confirmed = database.arguments["dispatches.confirm"]
    assert [(item.execution_id, run) for item, run in confirmed] == [
        (id_, f"run of {id_}") for id_ in "abc"
    ]
    assert database.arguments["dispatches.reserve"] == [(64, 8)] * 4
    assert "dispatches.withdraw" not in database.arguments
    assert client.names.count("create_deployment") == 1
    # The dispatcher runs nothing itself, and returns the executions of crashed owners.
    owner = database.arguments["queue.claim"][0][0]
    assert database.arguments["queue.claim"] == [(owner, 0, LEASE_SECONDS, ["x"])] * 2
    assert (CODE / "pool_flow.py").is_file()


@in_virtual_time
async def test_two_dispatchers_are_different_owners(monkeypatch: Patch) -> None:
    client_of(monkeypatch)
    databases = ScriptedDatabase(), ScriptedDatabase(queue__claim=[StorageUnavailableError("busy")])
    await dispatcher_of(databases[0]).dispatch_due(WorkerState())
    with pytest.raises(StorageUnavailableError):
        await dispatcher_of(databases[1]).dispatch_due(WorkerState())
    first, second = (database.arguments["queue.claim"][0][0] for database in databases)
    assert first != second


@pytest.mark.parametrize("request_name", ["create_deployment", "read_flow_runs"])
@in_virtual_time
async def test_without_a_server_the_pauses_grow_and_nothing_is_reserved(
    request_name: str, monkeypatch: Patch
) -> None:
    times: list[float] = []
    client_of(monkeypatch, **{request_name: recording(times, DOWN)})
    lost = [Dispatch("e", 1, "Name", run_id(1))]
    database = ScriptedDatabase(dispatches__unconfirmed=[lost])
    await call_until(dispatcher_of(database, lease_seconds=0.0), 20)
    assert times == [0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5]
    assert "dispatches.reserve" not in database.arguments
    assert "dispatches.withdraw" not in database.arguments
    # The recovery of executions does not wait for the server.
    assert len(database.arguments["queue.claim"]) == 81


@pytest.mark.parametrize("request_name", ["create_deployment", "read_flow_runs", SUBMIT])
@in_virtual_time
async def test_a_server_that_does_not_respond_delays_a_dispatcher_for_ten_seconds(
    request_name: str, monkeypatch: Patch
) -> None:
    client_of(monkeypatch, **{request_name: lambda *_, **__: asyncio.sleep(10_000)})
    lost = [Dispatch("lost", 1, "Name", run_id(1))]
    database = ScriptedDatabase(
        dispatches__unconfirmed=[lost], dispatches__reserve=[dispatches("a"), []]
    )
    database.answers["dispatches.withdraw"] = [None]
    if request_name == SUBMIT:
        database.answers["dispatches.unconfirmed"] = [[]]
    await dispatcher_of(database).dispatch_due(WorkerState())
    assert now() == 10
    withdrawn = [item.execution_id for (item,) in database.arguments["dispatches.withdraw"]]
    assert withdrawn == (["a"] if request_name == SUBMIT else [])


@in_virtual_time
async def test_a_failed_submission_returns_its_execution_and_not_the_others(
    monkeypatch: Patch,
) -> None:
    times: list[float] = []
    fails = True

    def submit(*args: Any, parameters: dict[str, str], **fields: Any) -> Any:
        if fails and parameters["execution_id"] == "b":
            times.append(now())
            return DOWN
        return submitted(*args, parameters=parameters, **fields)

    client_of(monkeypatch, **{SUBMIT: submit})
    database = ScriptedDatabase(dispatches__reserve=[dispatches("a", "b", "c")])
    dispatcher = dispatcher_of(database)
    await dispatcher.dispatch_due(WorkerState())
    assert [item.execution_id for (item,) in database.arguments["dispatches.withdraw"]] == ["b"]
    assert [item.execution_id for item, _ in database.arguments["dispatches.confirm"]] == ["a", "c"]
    assert len(database.arguments["dispatches.reserve"]) == 1
    # A success ends the growth of the pauses.
    await call_until(dispatcher, 3)
    assert times == [0, 0.5, 1.5]
    fails = False
    database.answers["dispatches.reserve"] = [dispatches("a"), [], dispatches("b"), []]
    await call_until(dispatcher, 3.5)
    fails, start = True, now()
    database.answers["dispatches.reserve"] = [dispatches("b")]
    await call_until(dispatcher, start + 1)
    assert times[3:] == [start, start + 0.5]


@in_virtual_time
async def test_a_missing_deployment_is_registered_again(monkeypatch: Patch) -> None:
    missing = ObjectNotFound(httpx.HTTPError("404"))
    client = client_of(monkeypatch, **{SUBMIT: missing})
    database = ScriptedDatabase(dispatches__reserve=[dispatches("a", "b")])
    dispatcher = dispatcher_of(database)
    await dispatcher.dispatch_due(WorkerState())
    # The second one needs no request, because the deployment is known to be missing.
    assert client.names.count(SUBMIT) == 1
    assert [item.execution_id for (item,) in database.arguments["dispatches.withdraw"]] == [
        "a",
        "b",
    ]
    client.answers[SUBMIT] = submitted
    database.answers["dispatches.reserve"] = [dispatches("a"), []]
    await asyncio.sleep(0.5)
    await dispatcher.dispatch_due(WorkerState())
    assert client.names.count("create_deployment") == 2
    assert [item.execution_id for item, _ in database.arguments["dispatches.confirm"]] == ["a"]


@in_virtual_time
async def test_only_flow_runs_that_no_worker_will_use_are_replaced(monkeypatch: Patch) -> None:
    found = {
        1: StateType.SCHEDULED,
        2: StateType.PENDING,
        3: StateType.PENDING,
        4: StateType.CRASHED,
    }
    runs = [SimpleNamespace(id=UUID(int=id_), state_type=state) for id_, state in found.items()]
    client = client_of(
        monkeypatch,
        read_flow_runs=runs,
        read_flow_run=lambda id_: SimpleNamespace(id=id_, state=None),
    )
    unconfirmed = [
        Dispatch("in the pool", 1, flow_run_id=run_id(1), is_overdue=True),
        Dispatch("taken now", 1, flow_run_id=run_id(2)),
        Dispatch("taken and not used", 1, flow_run_id=run_id(3), is_overdue=True),
        Dispatch("ended", 1, flow_run_id=run_id(4)),
        Dispatch("deleted", 1, flow_run_id=run_id(5)),
        Dispatch("unknown", 1),
    ]
    database = ScriptedDatabase(dispatches__unconfirmed=[unconfirmed, []])
    await dispatcher_of(database).dispatch_due(WorkerState())
    withdrawn = [item.execution_id for (item,) in database.arguments["dispatches.withdraw"]]
    assert withdrawn == ["taken and not used", "ended", "deleted", "unknown"]
    confirmed = database.arguments["dispatches.confirm"]
    assert [(item.execution_id, run) for item, run in confirmed] == [("in the pool", run_id(1))]
    assert [(run, type_) for run, type_, _ in client.ends()] == [
        (run_id(number), StateType.CRASHED) for number in (3, 4, 5)
    ]


@pytest.mark.parametrize(("lease", "overdue", "times"), [(10, 30, [0, 5, 10]), (60, 60, [0])])
@in_virtual_time
async def test_lost_flow_runs_are_searched_twice_per_lease(
    lease: float, overdue: float, times: list[float], monkeypatch: Patch
) -> None:
    client_of(monkeypatch)
    database = ScriptedDatabase()
    await call_until(dispatcher_of(database, lease), 12)
    assert database.times("dispatches.unconfirmed") == times
    assert set(database.arguments["dispatches.unconfirmed"]) == {(lease, overdue, 64)}
