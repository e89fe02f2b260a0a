"""Parallel branches: nodes without a dependency run at the same time."""

from tests.support.documents import document, node
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


def test_branches_run_at_the_same_time(service: RunningService, gates: Gates) -> None:
    """Both branches wait at their gates at once; the join runs after both of them."""
    execution_id = service.start(BRANCHES, inputs={"n": 1})
    gates.wait_for("left", "right")
    assert "both" not in service.logs(execution_id)

    gates.open("left", "right")
    assert service.ended(execution_id)["finalOutput"] == [{"n": 1}, {"n": 1}]
