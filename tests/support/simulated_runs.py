"""Random runs for the property tests: a strategy, an oracle and a driver.

The oracle applies the words of the contract to the drawn case, without ``Graph`` and ``ScopePlan``.
The driver acts as the flow without a database, and ends nodes in a random order.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from engine.document import parse_document
from engine.inputs import RunStart, start_at_entry, start_manually
from engine.outcome import SKIPPED, Outcome, ScopeStep
from engine.scope_plan import ScopePlan
from engine.status import NodeStatus
from tasks.registry import DEFAULT
from tests.support.documents import validate

TYPES = (
    "trigger",
    "webhook",
    "manualInput",
    "condition",
    "join",
    "output",
    "comment",
    "approval",
    "plain",
)
ENTRIES = ("trigger", "webhook")


@dataclass(frozen=True)
class DrawnNode:
    """A node, and how it would end if it ran."""

    id: str
    type: str
    on_error: str | None
    ends: str
    """``completes``, ``fails``, ``true``, ``false`` or ``rows:<true records>:<false records>``."""
    shape: str
    """The type of its output: ``object``, ``list`` or ``text``."""

    @property
    def output(self) -> Any:
        if self.shape == "object":
            return {"shared": self.id, f"only {self.id}": 1}
        return [self.id] if self.shape == "list" else self.id

    def records(self, side: str) -> list[str]:
        """The records that a condition over rows sends out of one side."""
        _, trues, falses = self.ends.split(":")
        return [f"{self.id} {side} {i}" for i in range(int(trues if side == "true" else falses))]

    def outcome(self) -> Outcome:
        """Return the outcome of the node."""
        if self.ends == "fails":
            return Outcome(NodeStatus.ERROR, error=f"{self.id} broke")
        result: dict[str, Any] = {"success": True, "outputData": self.output}
        if self.ends in ("true", "false"):
            result["conditionResult"] = self.ends == "true"
        elif self.ends.startswith("rows"):
            result["trueRecords"] = self.records("true")
            result["falseRecords"] = self.records("false")
        return Outcome(NodeStatus.COMPLETED, result)


@dataclass(frozen=True)
class Way:
    """A connection of a drawn case."""

    source: str
    target: str
    output_type: str | None
    port: str | None


@dataclass(frozen=True)
class Case:
    """A workflow, how its nodes would end, and how it is started."""

    nodes: dict[str, DrawnNode]
    ways: list[Way]
    delivered_to: str | None
    """The webhook node that a delivery fires; ``None`` is a manual start."""
    named: list[str]
    """Webhook nodes that ``inputs`` of a manual start names."""

    def into(self, node_id: str) -> list[Way]:
        ways = [way for way in self.ways if way.target == node_id]
        return [w for i, w in enumerate(ways) if self._ports(w) not in map(self._ports, ways[:i])]

    def _ports(self, way: Way) -> object:
        decides = self.nodes[way.source].type in ("condition", "approval")
        leaves = way.output_type if decides or way.output_type == "error" else None
        return way.source, leaves, way.port if self.nodes[way.target].type == "join" else None

    def out_of(self, node_id: str) -> list[Way]:
        return [way for way in self.ways if way.source == node_id]

    def plan(self, kind: type[ScopePlan] = ScopePlan) -> ScopePlan:
        """The engine's plan of it, by way of the document as it would be stored."""
        nodes = [
            {
                "id": node.id,
                "type": node.type,
                "config": {"onError": node.on_error} if node.on_error else {},
            }
            for node in self.nodes.values()
        ]
        connections = [
            {
                "id": f"c{i}",
                "fromNodeId": way.source,
                "toNodeId": way.target,
                "outputType": way.output_type,
                "inputPort": way.port,
            }
            for i, way in enumerate(self.ways)
        ]
        document = parse_document({"nodes": nodes, "connections": connections})
        graph = validate(document, TYPES, lambda _: [], DEFAULT.ports)
        return kind(graph, self._start(graph))

    def _start(self, graph: Any) -> RunStart:
        if self.delivered_to is not None:
            return start_at_entry(self.delivered_to, {"delivered": True})
        return start_manually(graph, {node_id: {"named": node_id} for node_id in self.named})


@st.composite
def cases(draw: st.DrawFn, *, stopping: bool) -> Case:
    """Acyclic workflows of up to nine nodes; without ``stopping`` no failure ends the run."""
    size = draw(st.integers(1, 9))
    ids = [f"n{i}" for i in range(size)]
    modes = ["continue", "branch"] + (["stop", None] if stopping else [])
    nodes: dict[str, DrawnNode] = {}
    for i, node_id in enumerate(ids):
        types = [kind for kind in TYPES if i or kind != "comment"]  # one node that can start
        kind = draw(st.sampled_from(types))
        ends = ["completes", "completes", "fails"]
        if kind in ("condition", "approval"):
            ends = ["true", "false", "fails"]
        if kind == "condition":
            ends += [f"rows:{trues}:{falses}" for trues in (0, 2) for falses in (0, 1)]
        nodes[node_id] = DrawnNode(
            node_id,
            kind,
            draw(st.sampled_from(modes)),
            draw(st.sampled_from(ends)),
            draw(st.sampled_from(["object", "list", "text"])),
        )
    ways: list[Way] = []
    if size > 1:
        pairs = [(a, b) for b in range(size) for a in range(b)]
        drawn = draw(st.lists(st.sampled_from(pairs), max_size=2 * size))
        for a, b in drawn:
            output_type = draw(st.sampled_from([None, None, "true", "false", "error"]))
            port = draw(st.sampled_from([None, "A", "B"]))
            ways.append(Way(ids[a], ids[b], output_type, port))
    order = draw(st.permutations(ids))
    drawn_case = Case({node_id: nodes[node_id] for node_id in order}, ways, None, [])
    webhooks = [i for i in order if nodes[i].type == "webhook" and not drawn_case.into(i)]
    if webhooks and draw(st.booleans()):
        delivered_to = draw(st.sampled_from(webhooks))
        return Case(drawn_case.nodes, ways, delivered_to, [])
    named = [node_id for node_id in webhooks if draw(st.booleans())]
    return Case(drawn_case.nodes, ways, None, named)


# --- the oracle -------------------------------------------------------------------------------


def taking_part(case: Case) -> set[str]:
    """A comment without connections is not part of the run."""
    tied = {way.source for way in case.ways} | {way.target for way in case.ways}
    return {i for i, node in case.nodes.items() if node.type != "comment" or i in tied}


def fired_entries(case: Case) -> set[str]:
    """Triggers; webhooks only without one or where named; of a delivery that webhook alone."""
    if case.delivered_to is not None:
        return {case.delivered_to}
    entries = {i: node.type for i, node in case.nodes.items() if not case.into(i)}
    triggers = {i for i, kind in entries.items() if kind == "trigger"}
    webhooks = {i for i, kind in entries.items() if kind == "webhook"}
    return triggers | (set(case.named) if triggers else webhooks)


def is_dead(case: Case, way: Way, fate: str) -> bool:
    """Whether nothing flows along a connection whose source met ``fate``."""
    source = case.nodes[way.source]
    if fate == "skipped":
        return True
    if fate == "error":
        if source.on_error == "continue":
            return False
        return source.on_error != "branch" or way.output_type != "error"
    if way.output_type == "error":
        return True
    if way.output_type in ("true", "false"):
        if source.ends in ("true", "false"):
            return source.ends != way.output_type
        if source.ends.startswith("rows"):
            return source.records(way.output_type) == []
    return False


def fates(case: Case) -> dict[str, str]:
    """Return how every node would end if a failure only skipped the nodes after it."""
    part, fired = taking_part(case), fired_entries(case)
    found: dict[str, str] = {}
    while len(found) < len(part):
        for node_id in part - found.keys():
            ways = case.into(node_id)
            if any(way.source not in found for way in ways):
                continue
            if ways:
                runs = not all(is_dead(case, way, found[way.source]) for way in ways)
            else:
                runs = case.nodes[node_id].type not in ENTRIES or node_id in fired
            if not runs:
                found[node_id] = "skipped"
            else:
                found[node_id] = "error" if case.nodes[node_id].ends == "fails" else "completed"
    return found


def flowing(case: Case, way: Way, fate: str) -> Any:
    """Return the data that a live connection passes on."""
    source = case.nodes[way.source]
    if fate == "error":
        return {"error": {"nodeId": source.id, "message": f"{source.id} broke"}}
    if source.ends.startswith("rows") and way.output_type in ("true", "false"):
        return source.records(way.output_type)
    return source.output


def expected_input(case: Case, node_id: str, found: Mapping[str, str]) -> Any:
    """The input of a node that runs."""
    ways = case.into(node_id)
    if not ways:
        if node_id == case.delivered_to:
            return {"delivered": True}
        return {"named": node_id} if node_id in case.named else None
    live = [way for way in ways if not is_dead(case, way, found[way.source])]
    values = [flowing(case, way, found[way.source]) for way in live]
    if case.nodes[node_id].type == "join":
        return _by_port(ways, live, values)
    if len(live) == 1:
        return values[0]
    merged: Any
    if all(type(value) is dict for value in values):
        merged = {}
        for value in values:
            merged.update(value)
    elif all(type(value) is list for value in values):
        merged = [item for value in values for item in value]
    else:
        merged = dict(zip((way.source for way in live), values, strict=True))
    return merged


def _by_port(ways: list[Way], live: list[Way], values: list[Any]) -> dict[str, Any]:
    nameless = [way for way in ways if way.port is None]
    taken = {way.port for way in ways}
    left = [port for port in ("A", "B") if port not in taken]
    port_of = {id(way): way.port or "B" for way in ways}
    for way, port in zip(nameless, left, strict=False):
        port_of[id(way)] = port
    by_port: dict[str, list[Any]] = {}
    for way, value in zip(live, values, strict=True):
        by_port.setdefault(port_of[id(way)], []).append(value)
    return {
        port: them[0]
        if len(them) == 1
        else [row for one in them for row in (one if type(one) is list else [one])]
        for port, them in by_port.items()
    }


def expected_final_output(case: Case, found: Mapping[str, str]) -> Any:
    """The data of the output nodes reached, else of the leaves."""
    reached = {
        i: case.nodes[i].output
        for i, fate in found.items()
        if fate == "completed" and case.nodes[i].type == "output"
    }
    if reached:
        return reached if len(reached) > 1 else next(iter(reached.values()))
    return {
        i: flowing(case, Way(i, "", None, None), fate)
        for i, fate in found.items()
        if fate != "skipped" and all(is_dead(case, way, fate) for way in case.out_of(i))
    }


def reachable(case: Case) -> set[str]:
    """Return the nodes that count for the progress."""
    fired, seen = fired_entries(case), set[str]()
    while True:
        more = {
            i
            for i in taking_part(case) - seen
            if any(way.source in seen for way in case.into(i))
            or (not case.into(i) and (case.nodes[i].type not in ENTRIES or i in fired))
        }
        if not more:
            return {i for i in seen if case.nodes[i].type != "comment"}
        seen |= more


# --- the driver -------------------------------------------------------------------------------


@dataclass
class Run:
    """The history of one run."""

    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    """In the order in which the nodes were decided."""
    started: list[str] = field(default_factory=list[str])
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    known_at_start: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Which nodes were decided when this one was handed out."""
    stopped_by: str | None = None
    handed_out_after_stop: list[str] = field(default_factory=list[str])

    @property
    def statuses(self) -> dict[str, str]:
        return {node_id: str(outcome.status) for node_id, outcome in self.outcomes.items()}


class Driver:
    """Runs a case in the order that ``rng`` selects, at most ``slots`` nodes at the same time."""

    def __init__(self, case: Case, seed: int, *, plan: ScopePlan | None = None) -> None:
        self.case = case
        self.plan = plan or case.plan()
        self.rng = random.Random(seed)
        self.slots = self.rng.randint(1, 4)
        self.run = Run()
        self.queued: list[str] = []
        self.in_flight: list[str] = []

    def begin(self, outcomes: Mapping[str, Outcome] | None = None) -> None:
        """Call ``ready``, like a new run and a recovered one."""
        self.run.outcomes.update(outcomes or {})
        self._take(self.plan.ready(self.run.outcomes))

    def drive(self, outcomes: Mapping[str, Outcome] | None = None) -> Run:
        """Run from ``begin`` to the end."""
        self.begin(outcomes)
        while self.advance():
            pass
        return self.run

    def advance(self) -> bool:
        """Start some nodes and end some; return ``False`` when the run is over."""
        while self.queued and len(self.in_flight) < self.slots and not self.run.stopped_by:
            node_id = self.queued.pop(self.rng.randrange(len(self.queued)))
            self.in_flight.append(node_id)
            self.run.started.append(node_id)
            self.run.inputs[node_id] = self.plan.node_input(node_id, self.run.outcomes)
        if not self.in_flight:
            return False
        ended = self.rng.sample(self.in_flight, self.rng.randint(1, len(self.in_flight)))
        for node_id in ended:
            self.in_flight.remove(node_id)
            outcome = self.case.nodes[node_id].outcome()
            self._decide(node_id, outcome)
            if self.plan.stops(node_id, outcome):
                self.run.stopped_by = self.run.stopped_by or node_id
        if self.run.stopped_by is None:
            self._take(self.plan.after(ended, self.run.outcomes))
        elif self.run.stopped_by in ended:
            step = self.plan.after(ended, self.run.outcomes)
            self.run.handed_out_after_stop += step.start + step.skip
        return True

    def _take(self, step: ScopeStep) -> None:
        for node_id in step.skip:
            self._decide(node_id, SKIPPED)
        for node_id in step.start:
            assert node_id not in self.run.known_at_start, f"{node_id} was handed out twice"
            self.run.known_at_start[node_id] = set(self.run.outcomes)
            self.queued.append(node_id)

    def _decide(self, node_id: str, outcome: Outcome) -> None:
        assert node_id not in self.run.outcomes, f"{node_id} was decided twice"
        self.run.outcomes[node_id] = outcome


def first(count: int, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Return the first ``count`` outcomes, as a journal contains them after a crash."""
    return dict(list(outcomes.items())[:count])
