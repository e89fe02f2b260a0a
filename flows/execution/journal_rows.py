"""What a walk writes of its nodes: results as their rows keep them, and the end of it all."""

import sys
from dataclasses import dataclass

import structlog

from database.encryption import DataEncryption
from database.executions.journal_records import ExecutionResult, NodeEnded, NodeOutcomeRecorded
from engine.json_encoding import TooLargeError, encode_within, size_within
from engine.json_values import JsonValue, encode_json
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome, Outcomes, Step
from engine.plan import Plan
from engine.redaction import HIDDEN, hides_data, redacted
from engine.status import ExecutionStatus, NodeStatus
from flows.nodes.result import NodeResult
from offload import MAX_INLINE_BYTES, check_stop, run_off_loop, run_sized

log = structlog.get_logger()


async def encoded(value: JsonValue, most_bytes: int) -> str:
    """Return a value as JSON text; a large one is encoded off the loop.

    Raises:
        TooLargeError: If the text would be larger than ``most_bytes``.
    """
    if size_within(value, MAX_INLINE_BYTES) is None:
        return await run_off_loop(_whole, value, most_bytes)
    return _whole(value, most_bytes)


def _whole(value: JsonValue, most_bytes: int) -> str:
    return encode_within(value, most_bytes, check_stop, copies=False)[0]


@dataclass(frozen=True, slots=True)
class JournalRows:
    """The rows of one execution's nodes, sealed where they hide their data."""

    plan: Plan
    outcomes: Outcomes
    encryption: DataEncryption
    limits: RunLimits = DEFAULT_RUN_LIMITS

    async def stored(self, key: NodeRunKey, result: NodeResult) -> tuple[str, str | None]:
        """A result as its row keeps it, output and the rest."""
        if not self._hides(key):
            return result.output_data, result.detail
        size = len(result.output_data) + len(result.detail or "")
        return encode_json(dict(HIDDEN)), await run_sized(
            size, self.encryption.encrypt, result.result
        )

    async def resume(
        self,
        key: NodeRunKey,
        outcome: Outcome,
        waited_ms: int | None,
        abandoned_child: str | None,
        most_bytes: int,
    ) -> NodeEnded:
        """The end of a node that waited; ``abandoned_child`` is the child it no longer awaits.

        Raises:
            TooLargeError: If its output or the rest is larger than ``most_bytes``.
        """
        log.debug("node_resumed", node_id=str(key), status=outcome.status)
        if outcome.status == NodeStatus.ERROR:
            return NodeEnded(
                str(key),
                outcome.status,
                None,
                error=outcome.error,
                abandoned_child=abandoned_child,
                waited_ms=waited_ms,
            )
        detail = {key: value for key, value in outcome.result.items() if key != "outputData"}
        output = outcome.result.get("outputData")
        result = NodeResult(
            await encoded(output, most_bytes), await encoded(detail, most_bytes), outcome.result
        )
        stored = await self.stored(key, result)
        return NodeEnded(
            str(key),
            outcome.status,
            None,
            *stored,
            abandoned_child=abandoned_child,
            waited_ms=waited_ms,
        )

    def decided(self, step: Step) -> list[NodeOutcomeRecorded]:
        """The nodes that a step decides without a run. Loops have rows since they began."""
        return [
            *(NodeOutcomeRecorded(self.plan.original_node(key)) for key in step.skip),
            *(
                NodeOutcomeRecorded(
                    self.plan.original_node(key),
                    outcome.status,
                    None if outcome.error else encode_json(outcome.result.get("outputData")),
                    outcome.error,
                )
                for key, outcome in step.decided.items()
                if self.plan.is_aggregate(key)
            ),
        ]

    async def ending(
        self, status: ExecutionStatus, error: str | None = None, *, stored_bytes: int = 0
    ) -> ExecutionResult:
        """How the execution ends; with its final output where it has completed.

        Where the final output would make the execution store too much, it ends ``failed``.
        """
        return await run_sized(stored_bytes, self._ending, status, error, stored_bytes)

    def _ending(
        self, status: ExecutionStatus, error: str | None, stored_bytes: int
    ) -> ExecutionResult:
        results = {
            str(key): HIDDEN if self._hides(key) else outcome.result
            for key, outcome in self.outcomes.items()
            if outcome.status == NodeStatus.COMPLETED
        }
        final = None
        if status == ExecutionStatus.COMPLETED:
            try:
                left = self.limits.execution_bytes - stored_bytes
                final = _whole(self.plan.final_output(self._shown()), left)
            except TooLargeError:
                status = ExecutionStatus.FAILED
                error = str(self.limits.execution_too_large("its final output"))
        progress = self.plan.progress(self.outcomes)
        return ExecutionResult(status, progress, error, _whole(results, sys.maxsize), final)

    def _shown(self) -> dict[NodeRunKey, Outcome]:
        return {
            key: redacted(outcome) if self._hides(key) else outcome
            for key, outcome in self.outcomes.items()
        }

    def _hides(self, key: NodeRunKey) -> bool:
        return hides_data(self.plan.original_node(key))
