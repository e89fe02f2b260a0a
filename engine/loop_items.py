"""The runs of a loop's items: how far they are, what happened in one, and what came of all."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.graph import Graph
from engine.json_values import JsonValue
from engine.loops import Loop
from engine.plan import SKIPPED, Outcome, Outcomes
from engine.status import NodeStatus


@dataclass(slots=True)
class LoopState:
    """How far a loop is. Items begin in order, as many at once as may."""

    loop: Loop
    begun: int = 0
    under_way: int = 0
    over: set[int] = field(default_factory=set[int])
    """The items that have ended, the failed among them."""
    failed: dict[int, str] = field(default_factory=dict[int, str])
    """The items that failed, and why."""

    def begin_next(self) -> int | None:
        """The next item, where one more may be under way; it is from now on."""
        while self.begun < len(self.loop.items) and self.under_way < self.loop.concurrency:
            item = self.begun
            self.begun += 1
            if item not in self.over:
                self.under_way += 1
                return item
        return None

    def end(self, item: int) -> None:
        """An item that was under way has ended."""
        self.over.add(item)
        self.under_way -= 1


class ItemRun(Mapping[str, Outcome]):
    """The outcomes of one item's run, by the ids of the body; the loop's own brings the item."""

    def __init__(self, graph: Graph, loop: str, places: str, outcomes: Outcomes, item: JsonValue):
        self._graph = graph
        self._loop = loop
        self._places = places
        self._outcomes = outcomes
        self._brought = Outcome(NodeStatus.COMPLETED, {"outputData": item})

    def __getitem__(self, node_id: str) -> Outcome:
        return (
            self._brought if node_id == self._loop else self._outcomes[f"{node_id}{self._places}"]
        )

    def __iter__(self) -> Iterator[str]:
        return (node_id for node_id in self._graph.nodes if self._has(node_id))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, node_id: object) -> bool:
        return self._has(node_id)

    def _has(self, node_id: object) -> bool:
        return node_id == self._loop or f"{node_id}{self._places}" in self._outcomes

    @property
    def is_done(self) -> bool:
        """Whether every node of the body is decided."""
        return all(self._has(node_id) for node_id in self._graph.nodes)


def over_all(runs: Mapping[str, Outcome], items: int) -> Outcome:
    """What a node of a body came to over all items."""
    counts = Counter(outcome.status for outcome in runs.values())
    if failed := counts[NodeStatus.ERROR]:
        key, first = next((k, o) for k, o in runs.items() if o.status == NodeStatus.ERROR)
        reason = f"failed in {failed} of {in_words(items)}; first '{key}': {first.error}"
        return Outcome(NodeStatus.ERROR, error=reason)
    if not counts[NodeStatus.COMPLETED]:
        return SKIPPED
    summary: dict[str, JsonValue] = {
        "items": items,
        "completed": counts[NodeStatus.COMPLETED],
        "skipped": counts[NodeStatus.SKIPPED],
    }
    return Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": summary})


def in_words(count: int) -> str:
    """A number of items, for people."""
    return "1 item" if count == 1 else f"{count} items"
