"""Plans for tests, drawn in one line, and how their nodes may end.

Workflows are written as ``"t:trigger a:http"`` and ``"t>a c>true>b a>j.A"``: the second connection
leaves ``c`` at ``true``, the third enters ``j`` at port ``A``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engine.document import parse_document
from engine.graph import Graph
from engine.inputs import start_manually
from engine.loops import Loop
from engine.node_run_key import NodeRunKey
from engine.normalization import normalize
from engine.outcome import Outcome, Progress, Step, Tally
from engine.plan import Plan
from engine.scope_plan import ScopePlan
from engine.status import NodeStatus
from tasks.registry import DEFAULT


def graph(nodes: str, ways: str = "", **configs: dict[str, Any]) -> Graph:
    connections: list[dict[str, Any]] = []
    for way in ways.split():
        source, *output_type, end = way.split(">")
        target, _, port = end.partition(".")
        connections.append(
            {
                "fromNodeId": source,
                "toNodeId": target,
                "outputType": output_type[0] if output_type else None,
                "inputPort": port or None,
            }
        )
    return normalize(
        parse_document(
            {
                "nodes": [
                    {"id": node_id, "type": kind, "config": configs.get(node_id, {})}
                    for node_id, kind in (node.split(":") for node in nodes.split())
                ],
                "connections": connections,
            }
        ),
        DEFAULT.known,
        DEFAULT.ports,
    ).graph


def plan(nodes: str, ways: str = "", **configs: dict[str, Any]) -> ScopePlan:
    drawn = graph(nodes, ways, **configs)
    return ScopePlan(drawn, start_manually(drawn, None))


V = TypeVar("V")


@dataclass(frozen=True)
class TextStep:
    """A step whose keys are strings."""

    start: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    decided: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    cancels_scopes: bool = False


class PlannedRun:
    """A plan with its loop states. All keys are strings, as in the journal."""

    def __init__(self, graph: Graph) -> None:
        self.plan = Plan(graph, start_manually(graph, None))
        self.states = self.plan.new_states()

    def ready(
        self, outcomes: Mapping[str, Outcome], active: Mapping[str, Loop] | None = None
    ) -> TextStep:
        step = self.plan.ready(by_key(outcomes), self.states, by_key(active or {}))
        return self._text(step)

    def after(
        self,
        ended: Iterable[str],
        outcomes: Mapping[str, Outcome],
        active: Mapping[str, Loop] | None = None,
    ) -> TextStep:
        keys = [NodeRunKey.parse(key) for key in ended]
        step = self.plan.after(keys, by_key(outcomes), self.states, by_key(active or {}))
        return self._text(step)

    def node_input(self, key: str, outcomes: Mapping[str, Outcome]) -> Any:
        return self.plan.node_input(NodeRunKey.parse(key), by_key(outcomes), self.states)

    def final_output(self, outcomes: Mapping[str, Outcome]) -> Any:
        return self.plan.final_output(by_key(outcomes))

    def failure(self, outcomes: Mapping[str, Outcome]) -> str | None:
        return self.plan.failure(by_key(outcomes))

    def is_cancelled_scope(self, key: str, outcomes: Mapping[str, Outcome]) -> bool:
        return self.states.is_cancelled_scope(NodeRunKey.parse(key), by_key(outcomes))

    @staticmethod
    def _text(step: Step) -> TextStep:
        decided = {str(key): outcome for key, outcome in step.decided.items()}
        start, skip = tuple(map(str, step.start)), tuple(map(str, step.skip))
        return TextStep(start, skip, decided, step.cancels_scopes)


def by_key(values: Mapping[str, V]) -> dict[NodeRunKey, V]:
    """Return ``values`` by node run key instead of by its string."""
    return {NodeRunKey.parse(key): value for key, value in values.items()}


def progress_of(plan: ScopePlan, outcomes: Mapping[str, Outcome]) -> Progress:
    return Tally(plan.counted, outcomes).progress()


def done(output: Any = None, **result: Any) -> Outcome:
    return Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": output, **result})


def failed(reason: str = "broke") -> Outcome:
    return Outcome(NodeStatus.ERROR, error=reason)


WENT_TRUE = done({"age": 30}, conditionResult=True)
WENT_FALSE = done({"age": 3}, conditionResult=False)
ROWS = done([1, 2, 3], trueRecords=[1, 2], falseRecords=[3])
