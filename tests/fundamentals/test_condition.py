"""Condition: selects the branch that runs."""

from tests.support.documents import document, node
from tests.support.service import RunningService

AGE_CHECK = document(
    node("start", "trigger"),
    node(
        "adult",
        "condition",
        conditionField="age",
        conditionOperator="greaterOrEqual",
        conditionValue="18",
    ),
    node("welcome"),
    node("reject"),
    flow=("start -> adult", "adult -true-> welcome", "adult -false-> reject"),
)


def test_a_condition_selects_one_branch(service: RunningService) -> None:
    """The nodes of the branch that was not selected get the status ``skipped``."""
    execution = service.run(AGE_CHECK, inputs={"age": 36})

    logs = service.logs(execution["executionId"])
    assert logs["welcome"]["status"] == "completed"
    assert logs["reject"]["status"] == "skipped"
