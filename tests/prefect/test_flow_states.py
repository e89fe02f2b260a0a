"""States of flow runs: Prefect shows how the run of an execution ended."""

import pytest
from prefect.client.schemas.objects import StateType

from database.executions.journal_records import ExecutionResult
from engine.status import ExecutionStatus
from flows.execution.signals import StopReason
from flows.workflow_flow import _as_state


@pytest.mark.parametrize(
    ("outcome", "state", "message"),
    [
        (StopReason.PARKED, StateType.COMPLETED, "Parked: another flow run continues"),
        (StopReason.SHUTDOWN, StateType.CANCELLED, "Released by this service: shutdown"),
        (StopReason.LEASE_LOST, StateType.CANCELLED, "Released by this service: lease_lost"),
        (ExecutionResult(ExecutionStatus.COMPLETED), StateType.COMPLETED, "workflow completed"),
        (ExecutionResult(ExecutionStatus.CANCELLED), StateType.CANCELLED, "Cancelled on request"),
        (ExecutionResult(ExecutionStatus.FAILED, error="it broke"), StateType.FAILED, "it broke"),
    ],
)
def test_the_state_of_a_flow_run_names_its_outcome(
    outcome: ExecutionResult | StopReason, state: StateType, message: str
):
    found = _as_state(outcome)
    assert found.type == state
    assert message in str(found.message)
