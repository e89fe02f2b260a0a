"""Work pools: the requests to a Prefect server, with a client in memory."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from prefect import Flow
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Completed, Running

from flows.prefect_adapter.work_pools import (
    DeploymentMissingError,
    end_unused_flow_run,
    open_flow_runs,
    register_deployment,
    skip_flow_run,
    submit_flow_run,
)
from tests.support.recorded_client import RecordedClient as Client

ID, OTHER = UUID(int=1), UUID(int=2)
NOT_FOUND, EXISTS = (
    ObjectNotFound(httpx.HTTPError("404")),
    ObjectAlreadyExists(httpx.HTTPError("409")),
)


@pytest.mark.parametrize(
    ("answers", "creates"),
    [
        ({}, False),
        ({"read_work_pool": NOT_FOUND}, True),
        ({"read_work_pool": NOT_FOUND, "create_work_pool": EXISTS}, True),
    ],
)
async def test_a_pool_is_created_if_it_is_missing_and_the_deployment_is_updated(
    answers: dict[str, Any], creates: bool
) -> None:
    client = Client(**answers, create_flow=OTHER, create_deployment=ID)
    flow = cast("Flow[..., Any]", object())
    assert await register_deployment(client.typed, flow, "pool", Path("/code")) == ID
    created = ["create_work_pool"] if creates else []
    assert client.names == ["read_work_pool", *created, "create_flow", "create_deployment"]
    if creates:
        pool = client.requests[1][2].get("work_pool") or client.requests[1][1][0]
        assert (pool.name, pool.type) == ("pool", "process")
    _, args, deployment = client.requests[-1]
    assert args == (OTHER, "executions")
    # The service checks the id itself, and a server would compare it with a schema that may differ.
    assert deployment["enforce_parameter_schema"] is False
    assert deployment["work_pool_name"] == "pool"
    assert deployment["entrypoint"] == "pool_flow.py:run_execution"
    assert deployment["parameter_openapi_schema"]["required"] == ["execution_id"]


async def test_a_flow_run_is_submitted_once_for_each_attempt() -> None:
    client = Client(create_flow_run_from_deployment=SimpleNamespace(id=OTHER))
    assert await submit_flow_run(client.typed, ID, "e1", 3, "name") == str(OTHER)
    [(_, args, fields)] = client.requests
    assert args == (ID,)
    assert fields == {
        "parameters": {"execution_id": "e1"},
        "name": "name",
        "idempotency_key": "e1:3",
    }
    client = Client(create_flow_run_from_deployment=NOT_FOUND)
    with pytest.raises(DeploymentMissingError):
        await submit_flow_run(client.typed, ID, "e1", 3, "name")


async def test_only_flow_runs_that_have_not_ended_are_open() -> None:
    states = [StateType.RUNNING, StateType.COMPLETED, None, StateType.SCHEDULED, StateType.CRASHED]
    runs = [
        SimpleNamespace(id=UUID(int=number), state_type=state)
        for number, state in enumerate(states)
    ]
    client = Client(read_flow_runs=runs)
    found = await open_flow_runs(client.typed, [str(run.id) for run in runs])
    assert found == {str(UUID(int=0)): StateType.RUNNING, str(UUID(int=3)): StateType.SCHEDULED}
    [(_, _, fields)] = client.requests
    assert fields["limit"] == 5
    assert fields["flow_run_filter"].id.any_ == [run.id for run in runs]
    client = Client(read_flow_runs=runs)
    assert await open_flow_runs(client.typed, []) == {}
    assert client.requests == []


@pytest.mark.parametrize(
    ("state", "crashed", "final"),
    [
        (None, False, StateType.CANCELLED),
        (Running(), False, StateType.CANCELLED),
        (Running(), True, StateType.CRASHED),
        (Completed(), True, None),
    ],
)
async def test_an_unused_flow_run_ends_unless_it_has_ended(
    state: Any, crashed: bool, final: StateType | None
) -> None:
    client = Client(read_flow_run=SimpleNamespace(id=ID, state=state))
    options = {"crashed": True} if crashed else {}
    await end_unused_flow_run(client.typed, str(ID), "reason", **options)
    ends = [args for name, args, _ in client.requests if name == "set_flow_run_state"]
    assert [(run, end.type, end.message) for run, end in ends] == (
        [] if final is None else [(ID, final, "reason")]
    )
    assert all(fields == {"force": True} for *_, fields in client.requests[1:])


async def test_a_skipped_flow_run_is_completed() -> None:
    client = Client()
    await skip_flow_run(client.typed, ID)
    [(name, (run, state), fields)] = client.requests
    assert (name, run, state.type, state.name) == (
        "set_flow_run_state",
        ID,
        StateType.COMPLETED,
        "Skipped",
    )
    assert fields == {"force": True}


async def test_errors_of_the_server_do_not_matter_for_unused_flow_runs() -> None:
    broken = Client(read_flow_run=ValueError("broken"), set_flow_run_state=ValueError("broken"))
    await asyncio.gather(
        end_unused_flow_run(broken.typed, str(ID), "reason"), skip_flow_run(broken.typed, ID)
    )
    assert sorted(broken.names) == ["read_flow_run", "set_flow_run_state"]
