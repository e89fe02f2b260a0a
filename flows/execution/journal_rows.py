"""Journal rows: the results of nodes and of the execution in the form that is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import structlog

from database.encryption import DataEncryption
from database.executions.journal_records import ExecutionResult, NodeEnded, NodeOutcomeRecorded
from database.payloads import MAX_EXECUTION_TEXT_CHARACTERS, LargeValue
from engine.json_encoding import TooLargeError
from engine.json_values import JsonValue, encode_json
from engine.limits import DEFAULT_RUN_LIMITS, RunLimits
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcome, Outcomes, Step
from engine.plan import Plan
from engine.redaction import HIDDEN, hides_data, redacted
from engine.status import ExecutionStatus, NodeStatus
from flows.encoding import encode_off_loop
from flows.nodes.result import NodeResult
from offload import run_sized
from tasks.compute import to_json

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JournalRows:
    """Converts the results of one execution; encrypts the data of nodes that hide it."""

    plan: Plan
    outcomes: Outcomes
    encryption: DataEncryption
    limits: RunLimits = DEFAULT_RUN_LIMITS

    async def stored(self, key: NodeRunKey, result: NodeResult) -> tuple[str, str | None]:
        """Return the output of a result and the rest of it, as they are stored."""
        if not self._hides(key):
            return result.output_data, result.detail
        size = len(result.output_data) + len(result.detail or "")
        return encode_json(dict(HIDDEN)), await run_sized(
            size, self.encryption.encrypt, result.result
        )

    async def resumed(
        self,
        key: NodeRunKey,
        outcome: Outcome,
        waited_ms: int | None,
        child: str | None,
        max_bytes: int,
    ) -> NodeEnded:
        """Return the row of the end of a waiting node; ``child`` is the execution it waited for.

        Raises:
            TooLargeError: If the output or the rest is larger than ``max_bytes``.
        """
        log.debug("node_resumed", node_id=str(key), status=outcome.status)
        if outcome.status == NodeStatus.ERROR:
            return NodeEnded(
                str(key),
                outcome.status,
                None,
                error=outcome.error,
                abandoned_child=child,
                waited_ms=waited_ms,
            )
        detail = {key: value for key, value in outcome.result.items() if key != "outputData"}
        output = outcome.result.get("outputData")
        result = NodeResult(
            await encode_off_loop(output, max_bytes),
            await encode_off_loop(detail, max_bytes),
            outcome.result,
        )
        stored = await self.stored(key, result)
        return NodeEnded(
            str(key), outcome.status, None, *stored, abandoned_child=child, waited_ms=waited_ms
        )

    def decided(self, step: Step) -> list[NodeOutcomeRecorded]:
        """Return the rows of nodes that a step decides without a run; loops have rows already."""
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

    async def result(
        self, status: ExecutionStatus, error: str | None, *, stored_bytes: int
    ) -> ExecutionResult:
        """Return the result of the execution, with the final output if it completed.

        It is ``failed`` if the final output exceeds the size limit of the execution.
        """
        return await run_sized(stored_bytes, self._result, status, error, stored_bytes)

    def _result(
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
                max_bytes = self.limits.execution_bytes - stored_bytes
                final = to_json(self.plan.final_output(self._redacted()), max_bytes)
            except TooLargeError:
                status = ExecutionStatus.FAILED
                error = str(self.limits.execution_too_large("its final output"))
        progress = self.plan.progress(self.outcomes)
        return ExecutionResult(status, progress, error, _stored_results(results), final)

    def _redacted(self) -> dict[NodeRunKey, Outcome]:
        return {
            key: redacted(outcome) if self._hides(key) else outcome
            for key, outcome in self.outcomes.items()
        }

    def _hides(self, key: NodeRunKey) -> bool:
        return hides_data(self.plan.original_node(key))


def _stored_results(results: Mapping[str, JsonValue]) -> str | LargeValue:
    """Return an object as JSON text, or as a payload that was built without the whole text."""
    parts = _object_parts(results)
    text = ""
    while len(text) <= MAX_EXECUTION_TEXT_CHARACTERS:
        part = next(parts, None)
        if part is None:
            return text
        text += part
    return LargeValue.of_parts(chain([text], parts))


def _object_parts(fields: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield the JSON text of an object in parts of at least one field each."""
    waiting, size = ["{"], 0
    for number, (key, value) in enumerate(fields.items()):
        text = to_json(value)
        waiting += ["," if number else "", encode_json(key), ":", text]
        size += len(text)
        if size > MAX_EXECUTION_TEXT_CHARACTERS:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join([*waiting, "}"])
