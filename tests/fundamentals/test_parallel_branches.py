"""Parallel branches: nodes without a dependency run at the same time."""

from tests.support.documents import document, line, node
from tests.support.probe_nodes import Gates
from tests.support.service import RunningService

BRANCHES = document(
    node("start", "trigger"),
    node("left", "gate"),
    node("right", "gate"),
    node("both", "join"),
    node("end"),
    flow=("start -> left", "start -> right", "left -> both:A", "right -> both:B", "both -> end"),
)

BLOCKING = document(node("start", "trigger"), node("blocked", "sync"), flow=("start -> blocked",))


def test_branches_run_at_the_same_time(service: RunningService, gates: Gates) -> None:
    """Both branches wait at their gates at once; the join runs after both of them."""
    execution_id = service.start(BRANCHES, inputs={"n": 1})
    gates.wait_for("left", "right")
    assert "both" not in service.logs(execution_id)

    gates.open("left", "right")
    assert service.ended(execution_id)["finalOutput"] == [{"n": 1}, {"n": 1}]


def test_a_synchronous_handler_delays_no_other_execution(
    service: RunningService, gates: Gates
) -> None:
    """Another execution completes while the handler of this one blocks its thread."""
    blocked = service.start(BLOCKING)
    gates.wait_for("blocked")

    other = service.start(line(3))
    assert service.ended(other)["status"] == "completed"
    assert service.poll(blocked)["status"] == "running"

    gates.open("blocked")
    assert service.ended(blocked)["status"] == "completed"
