"""What a walk writes of its nodes: results as their rows keep them, and the end of it all."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from database.node_records import NodeDecided, NodeEnded
from database.records import Ending
from database.vault import Vault
from engine.hiding import HIDDEN, hides, shown
from engine.nested_plan import NestedPlan
from engine.plan import Outcome, Outcomes, Step
from engine.status import ExecutionStatus, NodeStatus
from engine.values import JsonValue, encode_json

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one execution's nodes, sealed where they hide their data."""

    plan: NestedPlan
    outcomes: Outcomes
    vault: Vault

    def stored(
        self, node_id: str, result: Mapping[str, JsonValue], output: str, detail: str | None
    ) -> tuple[str, str | None]:
        """A result as its row keeps it, output and the rest."""
        if not self._hides(node_id):
            return output, detail
        return encode_json(dict(HIDDEN)), self.vault.seal(result)

    def gone_on(
        self,
        node_id: str,
        outcome: Outcome,
        waited_ms: int | None,
        gives_up: str | None = None,
    ) -> NodeEnded:
        """The end of a node that waited; ``gives_up`` is the child that it waits for no longer."""
        log.debug("node_goes_on", node_id=node_id, status=outcome.status)
        if outcome.status == NodeStatus.ERROR:
            return NodeEnded(
                node_id,
                outcome.status,
                None,
                error=outcome.error,
                gives_up=gives_up,
                waited_ms=waited_ms,
            )
        detail = {key: value for key, value in outcome.result.items() if key != "outputData"}
        texts = (encode_json(outcome.result.get("outputData")), encode_json(detail))
        stored = self.stored(node_id, outcome.result, *texts)
        return NodeEnded(
            node_id, outcome.status, None, *stored, gives_up=gives_up, waited_ms=waited_ms
        )

    def decided(self, step: Step) -> list[NodeDecided]:
        """The nodes that a step decides without a run. Loops have rows since they began."""
        return [
            *(NodeDecided(self.plan.declared(node_id)) for node_id in step.skip),
            *(
                NodeDecided(
                    self.plan.declared(key),
                    outcome.status,
                    None if outcome.error else encode_json(outcome.result.get("outputData")),
                    outcome.error,
                )
                for key, outcome in step.decided.items()
                if self.plan.is_over_all(key)
            ),
        ]

    def ending(self, status: ExecutionStatus, error: str | None = None) -> Ending:
        """How the execution ends; with its final output where it has completed."""
        results = {
            node_id: HIDDEN if self._hides(node_id) else outcome.result
            for node_id, outcome in self.outcomes.items()
            if outcome.status == NodeStatus.COMPLETED
        }
        final = None
        if status == ExecutionStatus.COMPLETED:
            final = encode_json(self.plan.final_output(self._shown()))
        progress = self.plan.progress(self.outcomes)
        return Ending(status, progress, error, encode_json(results), final)

    def _shown(self) -> dict[str, Outcome]:
        return {i: shown(it) if self._hides(i) else it for i, it in self.outcomes.items()}

    def _hides(self, node_id: str) -> bool:
        return hides(self.plan.declared(node_id))
