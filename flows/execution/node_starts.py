"""Node starts: the rows and the inputs of the node runs that start."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from database.executions.journal_records import NodeStarted
from engine.errors import NodeError
from engine.json_encoding import TooLargeError, encode_within
from engine.json_values import JsonValue
from engine.node_run_key import NodeRunKey
from flows.execution.state import ExecutionState
from flows.nodes.result import NodeResult
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop


@dataclass(frozen=True, slots=True)
class NodeStart:
    """A node run that starts, with its input or with the error that it fails with."""

    key: NodeRunKey
    row: NodeStarted
    input_data: JsonValue
    error: NodeError | None = None

    def failure(self) -> Coroutine[Any, Any, NodeResult] | None:
        """Return a coroutine that raises the error, or ``None`` if the node run has an input."""
        return None if self.error is None else _fail(self.error)


@dataclass(frozen=True, slots=True)
class NodeStarts:
    """Builds the inputs of node runs, large ones outside the event loop."""

    state: ExecutionState

    async def prepare(self, key: NodeRunKey) -> NodeStart:
        """Return the row and the input of a node run that is ready."""
        state = self.state
        attempts = state.attempts.get(key, 0)
        node = state.plan.node(key)
        error = None
        try:
            text, value = await self._input_of(key)
            state.sizes.add_input(text)
        except (TooLargeError, NodeError):
            text, value = "null", None
            error = state.sizes.limits.execution_too_large("the input of the node")
        if key not in state.parked:
            row = NodeStarted(node, text, attempts + 1, resumed=attempts > 0)
            return NodeStart(key, row, value, error)
        state.parked.take(key)  # a parked retry
        waited = state.times.resume(key)
        row = NodeStarted(node, text, attempts + 1, resumed=True, was_parked=True, waited_ms=waited)
        return NodeStart(key, row, value, error)

    async def _input_of(self, key: NodeRunKey) -> tuple[str, JsonValue]:
        """Return an input as a JSON string, and a copy that the handler may change."""
        state, sizes = self.state, self.state.sizes
        max_bytes = sizes.limits.execution_bytes - sizes.stored
        outcomes, loop_states = state.outcomes, state.loop_states
        if state.plan.input_size(key, outcomes, loop_states, MAX_INLINE_BYTES) is None:
            return await run_off_loop(self._encode, key, max_bytes)
        return self._encode(key, max_bytes)

    def _encode(self, key: NodeRunKey, max_bytes: int) -> tuple[str, JsonValue]:
        state = self.state
        value = state.plan.node_input(key, state.outcomes, state.loop_states)
        return encode_within(value, max_bytes, check_stop)


async def _fail(error: NodeError) -> NodeResult:
    raise error
