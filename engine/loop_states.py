"""Loop states: the progress of the active loops of one run."""

from dataclasses import dataclass, field

from engine.json_values import MISSING, JsonValue, Missing
from engine.loops import Loop, Loops
from engine.node_run_key import NodeRunKey
from engine.outcome import Outcomes

_NONE: Outcomes = {}


@dataclass(slots=True)
class LoopState:
    """The progress of one loop. Items start in order, up to its concurrency."""

    loop: Loop
    started: int = 0
    in_progress: int = 0
    ended: set[int] = field(default_factory=set[int])
    """The items that have ended, with those that failed."""
    failed: dict[int, str] = field(default_factory=dict[int, str])
    """The items that failed, and the reasons."""

    def start_next(self) -> int | None:
        """Start and return the next item, or return ``None`` if no item may start."""
        while self.started < len(self.loop.items) and self.in_progress < self.loop.concurrency:
            item = self.started
            self.started += 1
            if item not in self.ended:
                self.in_progress += 1
                return item
        return None

    def end(self, item: int) -> None:
        """End an item that is in progress."""
        self.ended.add(item)
        self.in_progress -= 1


class LoopStates:
    """The loops of one run that have started and not ended.

    The caller of ``Plan.ready`` and ``Plan.after`` keeps it between two calls, because the plan
    itself has no state. ``ready`` computes it from the outcomes.
    """

    def __init__(self, loops: Loops) -> None:
        self._loops = loops
        self.active: dict[NodeRunKey, LoopState] = {}
        self.checked: dict[str, int] = {}
        """See ``ScopePlan.after``; for the scope outside of all loops."""

    def clear(self) -> None:
        """Remove all loops."""
        self.active.clear()
        self.checked.clear()

    def progress_of(self, key: NodeRunKey) -> tuple[int, int] | None:
        """Return how many items of a loop have ended and how many it has."""
        state = self.active.get(key)
        return None if state is None else (len(state.ended), len(state.loop.items))

    def is_cancelled_scope(
        self, key: NodeRunKey, outcomes: Outcomes, decided: Outcomes = _NONE
    ) -> bool:
        """Return whether a loop around a node run is decided, or the run's item has failed.

        ``decided`` are outcomes that are not in ``outcomes`` yet.
        """
        while (loop := self._loops.enclosing_run(key)) is not None:
            state = self.active.get(loop)
            has_failed = state is not None and key.path[-1] in state.failed
            if has_failed or loop in outcomes or loop in decided:
                return True
            key = loop
        return False

    def item_of(self, key: NodeRunKey) -> JsonValue:
        """Return the item of the innermost loop around a node run, ``MISSING`` outside of loops."""
        loop = self._loops.enclosing_run(key)
        return MISSING if loop is None else self.active[loop].loop.items[key.path[-1]]

    def loop_variable(self, key: NodeRunKey) -> JsonValue | Missing:
        """Return ``loop`` of a node run's templates: its item and, in nested loops, ``outer``."""
        loop = self._loops.enclosing_run(key)
        if loop is None:
            return MISSING
        index, items = key.path[-1], self.active[loop].loop.items
        position = {"index": index, "number": index + 1, "count": len(items)}
        variable: dict[str, JsonValue] = {"item": items[index], **position}
        if loop.path:
            variable["outer"] = self.loop_variable(loop)
        return variable
