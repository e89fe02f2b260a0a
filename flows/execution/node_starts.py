"""Node starts: the rows and the inputs of the node runs that start."""

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from database.executions.journal_records import NodeStarted
from engine.errors import NodeError
from engine.json_encoding import TooLargeError, encode_within
from engine.json_values import JsonValue
from engine.loop_states import LoopStates
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcomes
from engine.plan import Plan
from flows.execution.node_times import NodeTimes
from flows.execution.parked_nodes import ParkedNodes
from flows.execution.stored_sizes import StoredSizes
from flows.nodes.result import NodeResult
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop


@dataclass(frozen=True, slots=True)
class NodeStart:
    """A node run that starts, with its input or with the reason why it fails at once."""

    key: NodeRunKey
    row: NodeStarted
    input_data: JsonValue
    error: NodeError | None = None

    def failure(self) -> Coroutine[Any, Any, NodeResult] | None:
        """Return a coroutine that raises the reason, or ``None`` if there is none."""
        return None if self.error is None else _fail(self.error)


@dataclass(frozen=True, slots=True)
class NodeStarts:
    """Makes the inputs of node runs; a large one is made off the loop."""

    plan: Plan
    outcomes: Outcomes
    states: LoopStates
    begun: Mapping[NodeRunKey, int]
    """Attempts that earlier owners of the execution had begun, by key."""
    sizes: StoredSizes
    parked: ParkedNodes
    times: NodeTimes

    async def prepare(self, key: NodeRunKey) -> NodeStart:
        """Return the row and the input of a node run that is ready."""
        attempts = self.begun.get(key, 0)
        node = self.plan.node(key)
        error = None
        try:
            text, value = await self._input_of(key)
            self.sizes.add_input(text)
        except (TooLargeError, NodeError):
            text, value = "null", None
            error = self.sizes.limits.execution_too_large("the input of the node")
        if key not in self.parked:
            row = NodeStarted(node, text, attempts + 1, resumed=attempts > 0)
            return NodeStart(key, row, value, error)
        self.parked.take(key)  # a retry
        waited = self.times.resume(key)
        row = NodeStarted(node, text, attempts + 1, resumed=True, was_parked=True, waited_ms=waited)
        return NodeStart(key, row, value, error)

    async def _input_of(self, key: NodeRunKey) -> tuple[str, JsonValue]:
        """Return an input as JSON text, and a copy that the handler may change."""
        most = self.sizes.limits.execution_bytes - self.sizes.stored
        if self.plan.input_size(key, self.outcomes, self.states, MAX_INLINE_BYTES) is None:
            return await run_off_loop(self._encode, key, most)
        return self._encode(key, most)

    def _encode(self, key: NodeRunKey, most_bytes: int) -> tuple[str, JsonValue]:
        return encode_within(
            self.plan.node_input(key, self.outcomes, self.states), most_bytes, check_stop
        )


async def _fail(error: NodeError) -> NodeResult:
    raise error
