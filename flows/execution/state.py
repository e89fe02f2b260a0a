"""Execution state: the progress of one execution in memory."""

from dataclasses import dataclass

from database import Clock
from database.executions.journal_records import JournalState
from engine.limits import RunLimits
from engine.loop_states import LoopStates
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome
from engine.plan import Plan
from flows.execution.node_times import NodeTimes
from flows.execution.parked_nodes import ParkedNodes
from flows.execution.stored_sizes import StoredSizes


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """The plan of an execution and the state of its node runs, by key."""

    plan: Plan
    loop_states: LoopStates
    outcomes: dict[NodeRunKey, Outcome]
    attempts: dict[NodeRunKey, int]
    """Number of attempts that began before the current run of a node."""
    failed_attempts: dict[NodeRunKey, int]
    """Number of attempts that failed before the current run of a node."""
    parked: ParkedNodes
    times: NodeTimes
    sizes: StoredSizes

    @classmethod
    def of(
        cls,
        plan: Plan,
        loop_states: LoopStates,
        record: JournalState,
        limits: RunLimits,
        clock: Clock,
    ) -> "ExecutionState":
        """Return the state that the journal contains."""
        return cls(
            plan,
            loop_states,
            record.outcomes,
            record.attempts,
            record.failed_attempts,
            ParkedNodes(record.parked, plan.is_loop),
            NodeTimes(record.times, clock),
            StoredSizes(limits, record),
        )
