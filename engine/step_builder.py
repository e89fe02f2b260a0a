"""Step builder: computes one step of a plan over all scopes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.data_flow import item_output
from engine.json_values import JsonValue
from engine.loop_states import LoopState, LoopStates
from engine.loops import ActiveLoops
from engine.node_run_key import ItemPath, NodeRunKey
from engine.outcome import SKIPPED, Outcome, Outcomes, ScopeStep, Step, describe_failure
from engine.scopes import Scopes, ScopeView
from engine.status import NodeStatus


@dataclass(slots=True)
class StepBuilder:
    """One step while it is computed. It updates ``states``."""

    scopes: Scopes
    states: LoopStates
    outcomes: Outcomes
    active: ActiveLoops
    max_result_bytes: int | None
    _new: dict[NodeRunKey, Outcome] = field(default_factory=dict[NodeRunKey, Outcome])
    """Outcomes of this step; not in ``outcomes``."""
    _start: dict[NodeRunKey, None] = field(default_factory=dict[NodeRunKey, None])
    _skip: dict[NodeRunKey, None] = field(default_factory=dict[NodeRunKey, None])
    _decided: dict[NodeRunKey, Outcome] = field(default_factory=dict[NodeRunKey, Outcome])
    _cancels_scopes: bool = False
    _is_stopped: bool = False

    def step(self) -> Step:
        """Return the step."""
        if self._is_stopped:
            return Step(decided=self._decided, cancels_scopes=self._cancels_scopes)
        start = (
            key for key in self._start if not (self._cancels_scopes and self._is_cancelled(key))
        )
        return Step(tuple(start), tuple(self._skip), self._decided, self._cancels_scopes)

    def apply(self, step: ScopeStep, path: ItemPath) -> None:
        """Add the step of one scope."""
        for node_id in step.skip:
            key = self._key(node_id, path)
            self._set_skipped(key)
            self.aggregate_body(key, SKIPPED)
        for node_id in step.start:
            key = self._key(node_id, path)
            if key not in self.active:
                self._start[key] = None

    def advance(self, keys: Sequence[NodeRunKey], path: ItemPath) -> None:
        """Add what follows from node runs of one scope that were decided."""
        root = self.scopes.root
        if not path:
            node_ids = [self.scopes.root_ids[key] for key in keys]
            view = self.scopes.root_view(self.outcomes, self._new)
            if any(root.stops(node_id, view[node_id]) for node_id in node_ids):
                self._is_stopped = True
            else:
                self.apply(root.after(node_ids, view, self.states.checked), ())
            return
        loop, item = self.scopes.loops.enclosing_run(keys[0]), path[-1]
        state = None if loop is None else self.states.active.get(loop)
        if loop is None or state is None or item in state.ended:
            return
        body, view = self.scopes.bodies[loop.node_id], self._item_view(loop, item, state)
        node_ids = [key.node_id for key in keys]
        stopping = [node_id for node_id in node_ids if body.stops(node_id, view[node_id])]
        if stopping:
            node = body.graph.nodes[stopping[0]]
            state.failed[item] = describe_failure(node, view[stopping[0]].error)
            self._cancels_scopes = True
        else:
            self.apply(body.after(node_ids, view), path)
        if stopping or view.is_complete:
            state.end(item)
            self._start_items(loop, state)

    def start_loop(self, key: NodeRunKey, *, is_new: bool) -> None:
        """Start the first items of a loop, or continue a loop that started before a crash."""
        if key.node_id not in self.scopes.bodies or self._is_decided(key):
            return
        if self._is_cancelled(key):
            self._cancels_scopes = True
            return
        state = self.states.active[key] = LoopState(self.active[key])
        body = self.scopes.bodies[key.node_id]
        for item in () if is_new else range(len(state.loop.items)):
            if reason := body.failure(self._item_view(key, item, state)):
                state.failed[item] = reason
                state.ended.add(item)
                self._cancels_scopes = True
        self._start_items(key, state)

    def aggregate_body(self, key: NodeRunKey, outcome: Outcome) -> None:
        """If a loop was decided, decide the nodes of its body over all items."""
        body = self.scopes.loops.bodies.get(key.node_id)
        if body is None:
            return
        state = self.states.active.pop(key, None)
        if outcome.status == NodeStatus.ERROR:
            self._cancels_scopes = True
        keys = [NodeRunKey(i, key.path) for i in self.scopes.graph.nodes if i in body]
        keys = [whole for whole in keys if not self._is_decided(whole)]
        if not keys:
            return
        if state is None:  # The loop was decided before a crash.
            started = self.scopes.loops.started_items(key, (*self.outcomes, *self._new))
            items = range(max(started, default=-1) + 1)
        else:
            items = range(state.started)
        for whole in keys:
            runs = [NodeRunKey(whole.node_id, (*key.path, item)) for item in items]
            ended = {run: found for run in runs if (found := self._outcome(run)) is not None}
            combined = aggregate(ended, len(runs))
            if combined is SKIPPED:
                self._set_skipped(whole)
            else:
                self._new[whole] = self._decided[whole] = combined

    def _start_items(self, key: NodeRunKey, state: LoopState) -> None:
        body = self.scopes.bodies[key.node_id]
        if state.failed and not state.loop.continues_on_error:
            item, reason = next(iter(state.failed.items()))
            self._finish_loop(key, Outcome(NodeStatus.ERROR, error=f"item {item}: {reason}"))
            return
        while (item := state.start_next()) is not None:
            view = self._item_view(key, item, state)
            self.apply(body.ready(view), (*key.path, item))
            if view.is_complete:
                state.end(item)
        if len(state.ended) == len(state.loop.items):
            self._finish_loop(key, self._result(key, state))

    def _result(self, key: NodeRunKey, state: LoopState) -> Outcome:
        """Return the outcome of a loop whose items have all ended: their results in order."""
        body, results, size = self.scopes.bodies[key.node_id], list[JsonValue](), 0
        for item in range(len(state.loop.items)):
            if (reason := state.failed.get(item)) is not None:
                error = {"nodeId": key.node_id, "item": item, "message": reason}
                results.append({"error": error})
                continue
            output, output_size = item_output(body.graph, self._item_view(key, item, state))
            results.append(output)
            size += output_size
        if self.max_result_bytes is not None and size > self.max_result_bytes:
            reason = f"the results of the items are larger than {self.max_result_bytes} bytes"
            return Outcome(NodeStatus.ERROR, error=f"{reason} (MAX_NODE_RESULT_BYTES)")
        message = format_count(len(results))
        if state.failed:
            message += f", {len(state.failed)} of them failed"
        result: dict[str, JsonValue] = {
            "success": True,
            "message": message,
            "outputData": results,
            "itemCount": len(results),
            "failedItems": sorted(state.failed),
        }
        return Outcome(NodeStatus.COMPLETED, result, size=size)

    def _finish_loop(self, key: NodeRunKey, outcome: Outcome) -> None:
        self._new[key] = self._decided[key] = outcome
        self.aggregate_body(key, outcome)
        self.advance([key], key.path)

    def _item_view(self, loop: NodeRunKey, item: int, state: LoopState) -> ScopeView:
        path, value = (*loop.path, item), state.loop.items[item]
        return self.scopes.item_view(loop.node_id, path, value, self.outcomes, self._new)

    def _key(self, node_id: str, path: ItemPath) -> NodeRunKey:
        return NodeRunKey(node_id, path) if path else self.scopes.root_keys[node_id]

    def _set_skipped(self, key: NodeRunKey) -> None:
        self._new[key] = SKIPPED
        self._skip[key] = None

    def _outcome(self, key: NodeRunKey) -> Outcome | None:
        return self.outcomes.get(key) or self._new.get(key)

    def _is_decided(self, key: NodeRunKey) -> bool:
        return self._outcome(key) is not None

    def _is_cancelled(self, key: NodeRunKey) -> bool:
        return self.states.is_cancelled_scope(key, self.outcomes, self._new)


def aggregate(runs: Mapping[NodeRunKey, Outcome], items: int) -> Outcome:
    """Return the outcome of a node of a body over all items of its loop."""
    counts = Counter(outcome.status for outcome in runs.values())
    if failed := counts[NodeStatus.ERROR]:
        key, first = next((k, o) for k, o in runs.items() if o.status == NodeStatus.ERROR)
        reason = f"failed in {failed} of {format_count(items)}; first '{key}': {first.error}"
        return Outcome(NodeStatus.ERROR, error=reason)
    if not counts[NodeStatus.COMPLETED]:
        return SKIPPED
    summary: dict[str, JsonValue] = {
        "items": items,
        "completed": counts[NodeStatus.COMPLETED],
        "skipped": counts[NodeStatus.SKIPPED],
    }
    return Outcome(NodeStatus.COMPLETED, {"success": True, "outputData": summary})


def format_count(count: int) -> str:
    """Return a number of items in words."""
    return "1 item" if count == 1 else f"{count} items"
